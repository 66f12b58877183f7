"""Inviting by file, and asking with one.

A member states a ticket and puts what is needed to ask into a file, sealed by a code. The newcomer founds its copy from
the roster in the file, and has a petition lie on the relays until an admin's device finds it there
(`engine.members.petitioning`).
"""

from __future__ import annotations

from collections.abc import Sequence

from peerd.core.names import space_name
from peerd.core.roster import compose, epochs, tickets
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import ADMIN, SignedStatement, decode_statement
from peerd.core.stored import StoredPetition
from peerd.engine.ports import Keys, Times
from peerd.engine.relay.keys import SpaceKeys
from peerd.engine.relay.ports import Sealing, TicketKeys
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import RemoteProtocolError, UserError
from peerd.logs import get
from peerd.protocol.pairing import invitation_file
from peerd.protocol.pairing.invitation_file import InvitationFile
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay import roster as relay_roster

log = get(__name__)

DAY_MS = 24 * 3600 * 1000
_NOWHERE = b"\0" * 16  # a file's keys belong to no space


class FileInvitations:
    def __init__(self, spaces: Spaces, sealing: Sealing, keys: Keys, ticket_keys: TicketKeys, times: Times) -> None:
        self._spaces = spaces
        self._sealing = sealing
        self._keys = keys
        self._ticket_keys = ticket_keys
        self._times = times

    async def invite(self, space: Space, days: int, role: str = ADMIN) -> tuple[bytes, str, int]:
        """State a ticket and make its file. Gives the file, its code as people type it, and when it expires.

        Raises:
            UserError: not-admin, roster-too-large, roster-full. RelayTrouble "relay-no-key". StoreError.
        """
        names_key = SpaceKeys(space, self._spaces).names()
        private, code = self._times.random_bytes(32), self._times.random_bytes(invitation_file.CODE_BYTES)
        public = self._ticket_keys.public_key_of(private)
        expires_ms = self._times.wall_ms() + days * DAY_MS
        stated = compose.signed(
            compose.ticket(space.roster, self._keys.device, public, expires_ms, role), self._keys.sign
        )
        statements = [*space.roster.statements, stated]
        if not relay_roster.fits(statements):
            raise UserError(
                f"{space.name} has too many members for an invitation by file",
                code="roster-too-large",
                status=409,
                next_step="Invite with `peerctl invite SPACE`, on the same network.",
            )
        await space.learn([stated])
        compose.check_taken(space.roster, stated.data)
        body = InvitationFile(
            space.id, space.roster.name, names_key, decode_statement(stated.data).id, private, expires_ms, statements
        )
        keys = epochs.relay_keys(_NOWHERE, invitation_file.file_secret(code))
        sealed = self._sealing.seal_object(invitation_file.OBJECT_NAME, invitation_file.encode(body), keys)
        log.info("invitation file made", space=space.name)
        return invitation_file.MAGIC + sealed, invitation_file.show_code(code), expires_ms

    async def withdraw(self, space: Space, ticket: str) -> None:
        """Let nobody in any more by the file whose ticket has this id (hexadecimal).

        Raises:
            UserError: not-admin, roster-full; not-invited if nobody may come by it anyway. StoreError.
        """
        open_ones = tickets.open_tickets(space.roster, self._times.wall_ms())
        which = next((one for one in open_ones if one.hex() == ticket), None)
        if which is None:
            raise UserError(
                f"{ticket} is no invitation file by which a device may still come",
                code="not-invited",
                status=404,
                next_step="`peerctl members` lists those that are open. Who came by one is a member, and removed as "
                "any other.",
            )
        data = compose.withdraw(space.roster, self._keys.device, which)
        await space.learn([compose.signed(data, self._keys.sign)])
        compose.check_taken(space.roster, data)
        log.info("invitation withdrawn", space=space.name)

    async def ask(self, file: bytes, code_text: str, name: str | None) -> Space:
        """Found our copy of the space, empty and closed for writing, with a petition for the relays.

        Raises:
            UserError: bad-code, bad-invitation, expired, space-exists, already-member, bad-name. StoreError.
        """
        invitation = self._open(file, invitation_file.read_code(code_text))
        if invitation.expires_ms <= self._times.wall_ms():
            raise UserError(
                "by this device's clock the invitation has expired",
                code="expired",
                status=409,
                next_step="Look whether the clock is right. If so, have a member make a new one with `peerctl invite "
                "SPACE --file PATH`.",
            )
        ours = self._spaces.by_id.get(invitation.space)
        if ours is not None and ours.roster.is_member(self._keys.device):
            raise UserError(
                f"this device is a member already, and calls the space {ours.name!r}",
                code="already-member",
                status=409,
                next_step=f"Nothing needs to be done. If it was removed and has not heard of it: `peerctl space forget "
                f"{ours.name}`, then join again.",
            )
        if name is not None:
            self._spaces.check_joinable_as(name)
        called = name or space_name(invitation.name)
        statements: Sequence[SignedStatement] = invitation.statements
        if ours is not None:  # of our removal the file may know nothing
            statements = ours.roster.with_statements(statements)[0].statements
        space = await self._spaces.adopt(invitation.space, called, statements)
        await space.ask(self._petition(invitation, space.roster))
        log.info("petition made", space=space.name)
        return space

    def _open(self, file: bytes, code: bytes) -> InvitationFile:
        keys = epochs.relay_keys(_NOWHERE, invitation_file.file_secret(code))
        sealed = invitation_file.sealed_part(file)
        try:
            plain = self._sealing.open_object(invitation_file.OBJECT_NAME, sealed, [keys])
        except RemoteProtocolError:
            raise invitation_file.bad_file("the code is not its code, or the file was changed") from None
        return invitation_file.decode(plain)

    def _petition(self, invitation: InvitationFile, roster: Roster) -> StoredPetition:
        """With the names under which the answer may stand: its own, and the heads of all members."""
        private = invitation.ticket_key
        data = tickets.petition(
            invitation.space,
            invitation.ticket,
            self._spaces.card(),
            by_ticket=lambda told: self._ticket_keys.sign_with(private, told),
            by_device=self._keys.sign,
            ended=roster.ended(self._keys.device),
        )
        secret = tickets.petition_secret(
            invitation.space, invitation.names_key, self._ticket_keys.public_key_of(private)
        )
        name = relay_names.ticket_name(invitation.names_key, invitation.ticket)
        sealed = self._sealing.seal_object(name, data, epochs.relay_keys(invitation.space, secret))
        answer = relay_names.answer_name(invitation.names_key, invitation.ticket)
        heads = [relay_names.head_name(invitation.names_key, device) for device in sorted(roster.members)]
        return StoredPetition(name, sealed, (answer, *heads), invitation.expires_ms)
