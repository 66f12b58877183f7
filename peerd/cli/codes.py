"""Every error code that a person can meet: what it means, whose fault it is, what to do next.

`peerctl explain` prints it and `docs/errors.md` is written from it. Codes are never renamed.
"""

from __future__ import annotations

from typing import Final

# What `peerctl` itself says.
_OF_THE_COMMAND: Final = {
    "ambiguous-device": "More than one device fits that name. Give the id, or its first eight characters.",
    "bad-answer": "Something answers at the socket, but not as peerd does. Check --socket and PEERD_SOCKET, and that "
    "daemon and peerctl are of one version.",
    "bad-json": "What was given as JSON is not JSON, or holds what no record can: NaN, infinity, a member named "
    "twice. Nothing was sent.",
    "bad-line": "A line of the imported file is no record. Nothing of its transaction was written, everything "
    "before it was. Correct the line and import the whole file again: what is there already stays as it is.",
    "connection-lost": "The daemon went away in the middle of an answer. A request that writes may or may not have "
    "been done; doing it again is harmless, since writing what is there already changes nothing.",
    "feed-ended": "The daemon ended the feed with an error. Watch again with the last token.",
    "no-answer": "The daemon took the request and said nothing for a minute: a stuck disk, or a fault. See its log.",
    "no-file": "The file to import cannot be opened.",
    "not-running": "No daemon answers at the socket. Start it (systemctl --user start peerd, or peerd), or say where "
    "it listens with --socket or PEERD_SOCKET. `peerctl doctor` looks at the rest.",
    "output-failed": "What the command prints could not be written: a full disk, for instance. What is there of it is "
    "not whole. Make room and run it again.",
    "socket-forbidden": "The socket's mode keeps you out. Join its group (a new login makes it count), or run the "
    "command as the user that peerd runs as.",
    "unknown-code": "There is no such error code. `peerctl explain` without a code lists them.",
    "usage": "The command was not given as it should be. `peerctl COMMAND --help` shows how.",
}

# What was sent over the socket.
_OF_THE_REQUEST: Final = {
    "address-too-long": "The request's address is too long; a key has at most 1,024 bytes.",
    "bad-body": "The body does not have the form that this request takes. /openapi.json describes it.",
    "bad-choice": "The conflict has no value with that number. List the conflicts again; it may have changed.",
    "bad-cursor": "The cursor or token is not of this list, or of another version. Start the list, or the feed, "
    "from its beginning.",
    "bad-device-id": "That is no device id, or a character of it is wrong: it has check characters. Copy it from "
    "`peerctl device` on the other device.",
    "bad-header": "A header does not hold what it should, an ETag for instance. Take ETags as they were given.",
    "bad-name": "A name that a space, collection, key or field cannot have: empty, too long, or with characters "
    "that have no shape.",
    "bad-query": "A parameter in the address is unknown, or has a value that peerd did not give.",
    "bad-request": "The request cannot be done as it was asked; its message says why.",
    "bad-value": "A value that records cannot hold, or that means something else than it seems to.",
    "duplicate-key": "An object names a member twice. One of them would be lost without a word, so nothing is done.",
    "headers-too-large": "The headers of the request are too large.",
    "length-required": "The request needs a body, and says how long it is in Content-Length.",
    "malformed-json": "The body is not JSON in UTF-8.",
    "malformed-request": "That is not HTTP/1.1 as it is specified.",
    "method-not-allowed": "The address exists and takes other methods; the header Allow names them.",
    "no-such-path": "There is nothing at this address. /openapi.json lists what there is.",
    "not-json": "The body is declared as something else than application/json.",
    "number-too-large": "Whole numbers have 64 bits, others are doubles. Send larger ones as strings.",
    "request-timeout": "The request took too long to arrive.",
    "too-deep": "The value is nested too deeply. Flatten it, or use several records.",
    "too-large": "Larger than what one write may be, here or on any other device. Split it.",
    "version-unsupported": "The request is of a version of HTTP that is not spoken here. Speak 1.1.",
}

# What the request was about.
_OF_THE_STATE: Final = {
    "already-member": "The device is a member of the space already.",
    "collection-not-found": "There is no such collection in the space.",
    "conflict-not-found": "There is no such conflict. Perhaps somebody has settled it, here or elsewhere.",
    "invitation-not-found": "There is no such invitation: it is used, expired or cancelled.",
    "invitation-open": "One invitation at a time, since the code must point to one. Wait for its end or cancel it.",
    "transaction-not-found": "The log of this device has no such transaction, or not any more; or its name was cut so "
    "short that it fits several. `peerctl log SPACE` lists what there is.",
    "before-history": "What a record was, and what changed when, is known only as far back as this device keeps it: "
    "`history_days`, or since it took over the state of another device. Its message says since when. Ask for a later "
    "time, ask another member, or look into a backup.",
    "merge-fixed": "Whether a collection merges by field or by record is fixed when it is created, since devices "
    "that disagreed about it would not come to the same values. Use another collection.",
    "nobody-asks": "No device is asking to be admitted at the moment.",
    "not-found": "There is no such thing.",
    "not-member": "The device is no member of the space. `peerctl members SPACE` lists them.",
    "precondition-failed": "It has changed since you looked (If-Match), or exists already (If-None-Match). Nothing "
    "was written. Read it again and decide anew, or write with --seen to keep both.",
    "record-not-found": "There is no such record, or it cannot be shown at the moment. `peerctl list SPACE "
    "COLLECTION` shows what there is.",
    "no-aside": "There is no copy of the space that was set aside under this name, or it is of another space. `peerctl "
    "recopy SPACE --list` shows those there are.",
    "not-linked": "There is no link with the device at the moment. `peerctl peers` says why.",
    "recopy-failed": "The copy of the other device did not come whole, or is not accepted; this one is as it was. The "
    "log says why. Try again, or take another member's.",
    "recopy-running": "An old copy is being taken in already. Wait for it, and try again.",
    "space-exists": "A space of this name is on this device already. Choose another name; `join --name` gives a "
    "joined space another one here.",
    "space-not-found": "There is no space of this name on this device. `peerctl space list` lists them.",
}

# Who may do it.
_OF_RIGHTS: Final = {
    "bad-code": "That cannot be a pairing code: it has eight digits, such as 4821-9073.",
    "join-failed": "The other device did not let this one in: wrong or expired code, no invitation open, or its "
    "person said no. Ask for a new invitation.",
    "needs-newer-peerd": "The space uses something that this version does not know. Upgrade peerd on this device.",
    "not-admin": "Only an admin of the space may do that, and this device is none. Do it on one that is.",
    "not-admitted": "This device has asked to be let into the space by an invitation file, and no member has answered "
    "yet. It can be written to as soon as one has; `peerctl status` says what is waited for.",
    "read-only": "You may read here, but not write: that takes root, the user that peerd runs as, or membership in "
    "the group named by control.write_group.",
    "removed": "This device has been removed from the space. What it has it keeps; nothing is exchanged any more. "
    "To come back it must be admitted again.",
}

# How pairing can end without a new member.
_OF_PAIRING: Final = {
    "bad-grant": "What the inviting device sent does not make this one a member. Bring both to the same version.",
    "busy": "The other device has no room at this moment: another one is pairing with it, or it has too many links. "
    "Try again in half a minute.",
    "cancelled": "The pairing was ended before it was complete. Invite again.",
    "declined": "The person at one of the two devices said no.",
    "expired": "The code is older than two minutes. Invite again.",
    "failed": "One of the two devices could not complete the pairing. Its log says why; then invite again.",
    "no-window": "The device that was asked is not inviting anybody: the code is used up, or the wrong device "
    "answered. Invite again.",
    "not-confirmed": "The device was admitted, but did not confirm that it knows. `peerctl members` shows it; if it "
    "has never been seen, its join failed perhaps: invite it again, it stays one member.",
    "not-named": "A device wanted to join by its id, and nobody has named it. Run `peerctl admit SPACE DEVICE-ID` "
    "with its id on a member, and check the id behind `join --from`.",
    "too-many-tries": "Three wrong codes came, and the code is void: a mistake, or somebody who guesses. Invite again.",
    "unproven": "The other device does not know the code. Somebody else may be answering at its address; name the "
    "right one with --host.",
    "version": "The two devices speak different versions of the protocol. Upgrade the older one.",
    "wrong-code": "The code was not the one that the other device shows, or somebody is between the two devices. "
    "Read it again; there are three tries.",
    "wrong-device": "The device that answered is not the one that was named. Check the id and the address.",
}

# What the daemon, its disk or its machine could not do.
_OF_THE_DAEMON: Final = {
    "already-running": "Another daemon answers at this socket. Stop it, or give this one a control.socket of its own.",
    "bad-address": "An address in the configuration is not HOST:PORT.",
    "bad-config": "The configuration has problems; all of them are listed. A running daemon keeps the one before. "
    "`peerd check-config` checks a file without using it.",
    "bad-identity": "The file with this device's key cannot be used: missing, damaged, or readable by others. Restore "
    "it from a backup; a new key is a new device, which must be admitted again.",
    "disk-full": "There is no room on the disk. Nothing was written, unless the sentence says how much, and nothing is "
    "lost; make room and try again.",
    "internal": "A fault of peerd itself. Its log has the details; please report it.",
    "stopping": "The daemon is stopping and takes nothing new. Try again when it runs.",
    "store-busy": "Another process holds the space's database. Only one daemon may use a state directory.",
    "store-damaged": "A database is not what was written to it. Stop the daemon, keep the file, look at the disk; a "
    "fresh copy can be had from any other member.",
    "store-closed": "The database was closed under a request: the daemon is stopping, or the space gets a new copy. "
    "Try again in a moment.",
    "store-exists": "There is a database already where a new one was to be made. Open it, or move it away.",
    "disk-slow": "Writes to the disk of this device take seconds. Nothing is lost: what is not written yet was not "
    "acknowledged. Look what else writes to it, and into the kernel's log. It is told while it lasts, and 5 minutes "
    "longer.",
    "machine-busy": "The daemon stood still for seconds, since the machine had no processor or no memory for it. Links "
    "may break meanwhile. It is told while it lasts, and 5 minutes longer.",
    "too-many-files": "The daemon may not open more files, or hardly any: no other device is let in, no database is "
    "opened; `peerctl` is answered, from descriptors that are kept back. Raise the limit, LimitNOFILE= in the unit or "
    "`ulimit -n`. It goes on by itself.",
    "store-failed": "The disk under a database takes no writes at the moment: an error of the disk, a file system that "
    "became read-only, a limit. Nothing was written. The sentence and the kernel's log say more. peerd tries again by "
    "itself, at least every minute; `peerctl status` says when.",
    "store-newer": "The database was written by a newer peerd. Upgrade; an older one would damage it.",
    "sqlite-too-old": "The Python that runs peerd has an SQLite in which the databases of spaces can be neither made "
    "nor read. The sentence says which one is needed. Run it with a Python that has one.",
    "store-stale": "A transaction was decided on an older state of the database and was refused; nothing was written. "
    "A fault of peerd: restart it, and please report it.",
    "task-failed": "A part of the daemon failed and it ends, to be started anew. Its log has the details.",
    "too-busy": "Too much is being written at this moment. Try again; nothing was done.",
    "too-many-connections": "Too many connections to the socket at once. Close some.",
}

# Applications' databases. docs/tables.md tells more of each.
_OF_TABLES: Final = {
    "binding-exists": "A binding of this name, or of this file, exists on this device already. `peerctl tables list` "
    "shows it.",
    "binding-not-found": "No database is bound under this name here. `peerctl tables list` shows those there are.",
    "both-have-data": "The file has rows and the space has records, and peerd does not guess what becomes of them: "
    "--merge brings them together, --adopt lets the file's rows give way after a backup.",
    "copy-filling": "The space has another copy here than the bound file shows: a new and still empty one, as after "
    "`peerctl space rebuild`, or an older one out of a backup. The file waits: nothing is taken out of it. It goes on "
    "by itself once a member or a relay that has the data was reached, or when no other member is left, and takes "
    "along what the application has written meanwhile and what nobody else has.",
    "file-bound": "The file is bound already, here or by another daemon. Unbind it there first.",
    "file-corrupt": "SQLite says that the application's file is damaged. Nothing is read from it or written to it. "
    "Restore it from a backup, or bind a new file: the space has the data.",
    "file-locked": "The application holds a lock on its file and does not let go. It is tried again; if it stays so, "
    "the application leaves a transaction open, or wants the file for itself alone (PRAGMA locking_mode = EXCLUSIVE).",
    "file-missing": "The application's file is not where it was. If it was moved, unbind it with --force and bind it "
    "again where it is now; with --adopt it shows what the space has, and is not doubled.",
    "file-network": "The application's file lies on a network file system, where SQLite's locks do not hold. Keep it "
    "on a disk of this machine, and let peerd carry its rows to the others.",
    "file-not-owned": "The file or its folder belongs to another user. What peerd would make beside it, the "
    "application could not open. Run peerd as the user of the application.",
    "file-read-only": "The application's file, or its folder, cannot be written. Check its mode and the file system.",
    "file-replaced": "Another file stands where the bound one was, perhaps from a backup. Unbind and bind again to say "
    "what becomes of its rows.",
    "file-unknown": "The file carries no binding, or one that is not ours: unbind and bind again. Or it was bound by a "
    "newer peerd: update this one.",
    "held": "An application deleted many rows of a table at once. The deletes are held until a person has looked: "
    "`peerctl tables held` approves them, or brings the rows back.",
    "key-mismatch": "The collection is a table whose rows are known by some of their columns, and the record's values "
    "make another key than the one it was given. Use the key that the message names.",
    "tied-conflict": "A CHECK of a table names several columns, and more than one of them is in conflict. Settled one "
    "by one they could make a row that the table forbids: choose one device for all, or write all of them at once.",
    "parked-check": "A rule of the table forbids a row, perhaps because the application is older here than elsewhere: "
    "update it, or change the record.",
    "parked-dangling": "A row refers to a row that only the device of its author had. Set the reference anew there.",
    "parked-datatype": "A column here cannot hold what the record has. Update the application, or change the record.",
    "parked-not-null": "A column that must have a value has none in the record, perhaps because the application is "
    "older here than elsewhere: update it, or change the record.",
    "parked-parent": "A row refers to a row that is not there. Bring that one back, or delete this one.",
    "parked-unique": "An older row has the same value in a column that is unique. Change or delete one of the two.",
    "table-missing": "The application has dropped or renamed a table that is bound, or a column by which its rows are "
    "known. Its records are kept in the space.",
    "table-new": "The application has added a table, or a column that refers to one, and it is not bound yet: "
    "`peerctl tables bind` of the same file takes it in, --exclude leaves it out.",
    "table-failed": "The application's file could not be read or written. It is tried again; the log has the details.",
    "tables-refused": "The database, or the tables that were asked for, cannot be bound; the message says why.",
    "tables-undecided": "The schema leaves something open that peerd does not guess: `peerctl tables bind --dry-run` "
    "shows what, and which option answers it.",
    "tables-unknown": "An option of `peerctl tables bind`, or a setting in the configuration, names a table or column "
    "that the database does not have. Nothing was bound; the message names all of them and what was perhaps meant.",
}

# What happens between devices: reasons in `status` and in the log.
_OF_PEERS: Final = {
    "bad-entry": "The other device sent a transaction that is not well formed. It was not applied. If it happens "
    "again, its copy is damaged, or its software is.",
    "bad-message": "The other device spoke out of turn, or nonsense. The link was closed.",
    "bad-seal": "Something sealed for this device cannot be opened: damaged, or sealed for another one.",
    "bad-signature": "Something of another device is not signed by whom it names. It was not taken over.",
    "bad-statement": "A statement about members is not well formed or wrongly signed. It was not taken over.",
    "bye": "The other device said goodbye: it is stopping.",
    "credit": "The other device sent more than it was allowed to. The link was closed.",
    "duplicate": "The other device has another link with this device's key, and keeps one. That is so for a moment "
    'when both dial each other. If it goes on, two machines run with one key: docs/recovery.md, "A cloned machine".',
    "diverged": "The two copies have applied the same transactions and do not hold the same: one of them is damaged. "
    "They find out where and put it right by themselves; `peerctl status` says what was found. "
    'docs/recovery.md, "Copies diverged".',
    "fork": "The two copies hold different histories of one device: it was set back to an earlier state, and wrote. "
    'Nothing is lost, and it is settled by itself: keep both running. docs/recovery.md, "A fork".',
    "horizon": "The other device no longer has the part of the log that this copy lacks.",
    "flood": "The other device goes on asking and does not take the answers. The link was closed.",
    "link-lost": "The link is gone, as links go. It is dialled again.",
    "malformed": "The other device sent what is no message. The link was closed.",
    "needs-newer": "The other device sent something that this version does not know. Upgrade peerd here.",
    "no-route": "The other device's name or network leads nowhere at the moment. Check the network and the address.",
    "not-websocket": "Something else than peerd answers at that address. Check the host and the port.",
    "order": "The other device spoke out of turn. The link was closed.",
    "dialling": "The device was just sighted and is being dialled.",
    "dials-us": "There is no link, and no address of the device is known here. If it runs it dials this one; to dial "
    "it too, name it under `network.peers`.",
    "never-seen": "The device was admitted, and nothing shows that it ever had a copy. If its `peerctl join` failed, "
    "invite it again: it stays one member. If another member has let it in, `peerctl members` there tells whether it "
    "came: this device may never meet it.",
    "paused": "Links with other devices are paused, here or there. `peerctl resume` ends the pause of this device.",
    "protocol": "The other device broke a rule of the protocol. The link was closed.",
    "refused-connection": "The other machine is there, and nothing listens at that port: peerd does not run there, or "
    "listens at another one.",
    "snapshot-damaged": "A snapshot of another device is not what that device says it is: its copy is damaged, or what "
    "carried it. Nothing of it was taken over.",
    "snapshot-busy": "As many devices as may at once take in a snapshot from that one. It is asked again by itself.",
    "snapshot-gone": "A snapshot was being made of a copy that is another one by now. It is made again.",
    "snapshot-refused": "A snapshot holds what the members do not accept: another space, another history, or what was "
    "written after its author was removed. Nothing of it was taken over.",
    "snapshot-too-large": "A record is larger than others may take in, so no snapshot can hold it. Make it smaller.",
    "staging-full": "More than peerd keeps is waiting for what it depends on. The link is dialled again and everything "
    "comes in order.",
    "timeout": "The other device did not answer in time. It is dialled again.",
    "tls": "What answers at that address is no peerd, or has no device key. Check the host and the port.",
    "two-machines": "Two machines run with one device key, since one is a copy of the other, and only one of them can "
    'be linked at a time. Make the copy a device of its own: docs/recovery.md, "A cloned machine". If the address that '
    "is named only forwards to this machine, take it out of `network.peers`.",
    "unknown-author": "A transaction is of an author that the roster does not know yet. It waits.",
    "unknown-device": "The other device does not know this one: they share no space, or it has not heard yet that "
    "they do. Another member will tell it.",
    "unreachable": "No address of the other device could be reached. Check that it runs and that its port is open, or "
    "name it with --host.",
    "unresolved": "The name of a static peer has no address at the moment. Check it, and the name service.",
    "unsupported": "The other device speaks a version of the protocol that is not spoken here. Upgrade the older one.",
}

# Storage that carries the log between devices: reasons in `peerctl relay status` and in the log. Links go on.
_OF_RELAYS: Final = {
    "relay-busy": "Another program holds a file of the relay's folder at the moment. It is tried again.",
    "relay-clock": "CloudKit accepts a signature for some minutes only, and this device's clock is further off. peerd "
    "signs with Apple's time, and that was not accepted either. Set the clock, then look at the key.",
    "relay-damaged": "Something on the relay is not what was left there: cut, changed, or put there by somebody else. "
    "It is treated as not there, and whoever made it leaves it again.",
    "relay-denied": "The relay lets this device not read or not write: wrong rights, a read-only file system, or "
    "credentials that are not accepted any more. It is tried again seldom; put it right first.",
    "relay-failed": "The relay did not do what it was asked, for a reason that peerd does not know; the sentence has "
    "the relay's own words. It is tried again.",
    "relay-forged": "What a device left on the relay is signed by somebody else. It was not taken over. Somebody who "
    "has the space's keys writes in another's name.",
    "relay-full": "The relay has no room, or its quota is used up. Make room there. Nothing is lost: what could not be "
    "left stays here and goes over links.",
    "relay-cloned": "Somebody else writes to the relay as this device: two machines have its key, or an old copy "
    "of it still runs. Both go on; make one of them a device of its own.",
    "relay-lost": "Something that a device has promised to have left on the relay is not there, and has not been for "
    "an hour. Whoever has it leaves it again.",
    "relay-misconfigured": "The relay is there and not as it must be; the sentence says what is missing. Put it right "
    "and run `peerctl relay check`.",
    "relay-no-key": "Nothing can be sealed for the relay at the moment: this device lacks a secret of the space. "
    "After a change of members an admin's device makes a new one by itself.",
    "relay-not-found": "No relay of that name is configured on this device. `peerctl relay status` shows those there "
    "are.",
    "relay-rolled-back": "The relay shows an older state than it did: restored from a backup, or somebody puts back "
    "what was there. Nothing is un-learnt, and what is missing there is left again.",
    "relay-swapped": "A segment on the relay is not the one that its device left in that place: the chain of its "
    "stream says so. Somebody with the space's keys writes there, or the relay put back another one. What is missing "
    "because of it is asked for again; nothing that was taken over is wrong, since every transaction is signed by "
    "itself.",
    "relay-throttled": "The relay asks to be left alone for a while. It is.",
    "relay-unknown-key": "What a device leaves on the relay is sealed for others: this device was removed from the "
    "space and nobody has left word of it there yet, or somebody put another file in its place. Ask a member. If it "
    "was removed, what is written here stays here alone.",
    "relay-unreachable": "The relay cannot be reached: the network is down, the folder is not mounted, or the stick is "
    "not plugged in. It is tried again.",
    "relay-unreadable": "Something on the relay does not open: it is not complete yet, or damaged. It is tried again, "
    "and after an hour whoever made it is asked to leave it anew.",
}

# Invitations that are carried as a file.
_OF_TICKETS: Final = {
    "bad-invitation": "The invitation file cannot be used: the code is not its code, or it is no invitation, or it was "
    "changed. Have a member make a new one.",
    "bad-petition": "Something asks on a relay to be let in and is not entitled to: its ticket is used up, withdrawn, "
    "expired or unknown, or a signature is wrong. It was not let in.",
    "file-unreadable": "A file that was named cannot be read; the sentence says why.",
    "file-unwritable": "A file that was named cannot be written; the sentence says why.",
    "file-exists": "A file of that name is there already, and is not overwritten. Choose another path.",
    "not-invited": "No invitation file of that id is open: a device came by it, it was withdrawn, it has expired, "
    "or the device that made it was removed. `peerctl members SPACE` lists those by which one may still come.",
    "roster-too-large": "The space has so many members that they do not fit into an invitation by file. Invite with a "
    "code on the same network.",
}

# Backups and what becomes of them.
_OF_BACKUPS: Final = {
    "backup-damaged": "A file of the backup is missing, or is not what was written. The restore has changed nothing. "
    "Take another backup.",
    "backup-exists": "At the path of the backup is something already. Each backup gets a folder of its own.",
    "backup-newer": "A later version of peerd made the backup. Restore it with that version, or a later one.",
    "backup-not-found": "At that path is no backup, or one that was cut off while it was made.",
    "backup-refused": "The daemon cannot write there: it runs as a user, or in a sandbox, that may not. Name a folder "
    "that it may write in.",
    "backup-running": "One backup is made at a time.",
    "daemon-running": "A restore replaces files that a running daemon has open. Stop it first.",
    "keys-missing": "The backup was made without the keys of its device, and this machine has none. A device is its "
    "keys: without them its spaces are closed to it. Find a copy of `identity/`, or restore with `--other-device`: "
    "then the copies can be read and exported, and another member can invite this device anew.",
    "other-device": "The backup is of another device than this one and was made without its keys. `--other-device` "
    "restores what can be read all the same.",
    "same-device": "A restore with `--other-device` is for a machine that is another device than that of the backup. "
    "This one has its keys. Leave the option out, or move `identity/`, `spaces/` and `marks/` away first.",
    "not-rebuilt": "Neither what is left of the space's database nor the copy of its roster beside it says that this "
    "device is a member. Let a member invite it again: it stays the member it was.",
    "only-copy": "Nobody else has a copy of this space, so there is nothing to rebuild it from. Keep the damaged file; "
    "restore a backup, or try `sqlite3 FILE .recover` on a copy of it.",
    "only-member": "The last member of a space cannot remove itself: the space could be read and never be written "
    "again, since nobody is left who could let a device in. `peerctl space forget NAME` is rid of it.",
    "only-admin": "The last admin of a space cannot remove itself while others are members: nobody could let a device "
    "in or remove one any more, and relays would stand still. Make another one an admin first: remove it and invite "
    "it again.",
    "roster-full": "Statements about members are kept for ever, and so many of one device, and in all. This device has "
    "made as many as are kept, or the other one was let in a hundred times. Do it on another admin.",
    "store-missing": "The database of a space of this device is gone. Put it back, or `peerctl space rebuild NAME`.",
    "restore-unfinished": "A restore was cut off in the middle. Run it again with the same backup; until then peerd "
    "does not start, since it would begin with half of what belongs together.",
}

TEXTS: Final[dict[str, str]] = {
    **_OF_THE_COMMAND,
    **_OF_THE_REQUEST,
    **_OF_THE_STATE,
    **_OF_RIGHTS,
    **_OF_PAIRING,
    **_OF_THE_DAEMON,
    **_OF_TABLES,
    **_OF_PEERS,
    **_OF_RELAYS,
    **_OF_TICKETS,
    **_OF_BACKUPS,
}
