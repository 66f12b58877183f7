"""What the socket needs from the rest of the daemon. The engine satisfies it by shape.

Everything here has passed the socket's own checks: JSON within the model, names within `peerd.core.names`,
sizes within limits, the caller allowed to write. Spaces are given by their name on this device; an unknown
one is `UserError(code="space-not-found", status=404)`.

Methods raise `peerd.errors.UserError(message, code=, status=, next_step=)` for what the caller can change;
codes and their meaning are the table of `peerd.control.problems`. `DiskFull` is answered with 507,
`StoreBusy` and a disk that fails with 503, any other error of ours with 500. A caller that goes away does not cancel a
method, but it closes a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from peerd.errors import UserError
    from peerd.protocol.control.backups import BackupEvent
    from peerd.protocol.control.history import RecordHistory, RecordThen, Revert, RevertResult
    from peerd.protocol.control.messages import (
        ChangeEvent,
        ChangeRequest,
        CollectionChange,
        CollectionList,
        CollectionSettings,
        ConflictList,
        LogFilter,
        LogPage,
        RecordPage,
        RecordView,
        Resolution,
        WriteResult,
    )
    from peerd.protocol.control.recopy import AsideList, Recopied
    from peerd.protocol.control.relays import RelayCheckList, RelayList, RelaySync
    from peerd.protocol.control.reports import (
        Forgotten,
        Health,
        InvitationEvent,
        Joined,
        MemberList,
        MemberView,
        NewJoin,
        PeerList,
        Reloaded,
        ScrubView,
        SpaceCheck,
        SpaceList,
        SpaceView,
        Status,
    )
    from peerd.protocol.control.tables import (
        BindingList,
        BindingReport,
        CleanedFile,
        HeldAnswer,
        HeldList,
        NewBinding,
        Unbound,
    )
    from peerd.protocol.control.tickets import Petitioned


class Service(Protocol):
    # --- the daemon ---

    async def status(self) -> Status: ...

    async def health(self) -> Health:
        """Must not wait for the store or a peer: a supervisor asks often."""
        ...

    async def metrics(self) -> str:
        """Give the metrics in the Prometheus text format, version 0.0.4."""
        ...

    async def reload(self) -> Reloaded:
        """Read the configuration again; a `ConfigError` is answered with 422 and the old one stays."""
        ...

    async def peers(self) -> PeerList: ...

    async def pause(self) -> None:
        """End all links and take none, until `resume` or a restart; reading and writing go on."""
        ...

    async def resume(self) -> None: ...

    async def back_up(self, target: str, *, keys: bool) -> AsyncGenerator[BackupEvent, None]:
        """Check the target, then make a backup there, and give how far it is; the last event has `made`. Closing the
        stream ends it, and leaves nothing. `backup-exists`, `backup-refused`, `backup-running` (409).
        """
        ...

    # --- spaces ---

    async def spaces(self) -> SpaceList: ...

    async def create_space(self, name: str) -> SpaceView:
        """Create a space with this device as its only member. `space-exists` (409)."""
        ...

    async def forget_space(self, name: str, *, delete: bool) -> Forgotten:
        """Be rid of this device's copy, which is set aside or deleted; also of one that failed to open."""
        ...

    async def rebuild_space(self, name: str) -> SpaceView:
        """A new, empty copy in place of a damaged or missing one; the other members fill it. `not-rebuilt`, `only-copy`
        (409).
        """
        ...

    async def look_through(self) -> AsyncGenerator[SpaceCheck, None]:
        """Read every page of every database."""
        ...

    async def space(self, name: str) -> SpaceView: ...

    async def scrub_space(self, name: str) -> ScrubView:
        """Look at all of its copy now; answers when that is done, or is going to take long."""
        ...

    async def asides(self, space: str) -> AsideList: ...

    async def recopy_from(self, space: str, device: str) -> Recopied:
        """Take in a member's copy in place of this one. `not-linked`, `recopy-running`, `recopy-failed` (409)."""
        ...

    async def recopy(self, space: str, aside: str) -> Recopied:
        """Take in a copy that was set aside. `no-aside` (404), `recopy-running` (409), `removed` (403)."""
        ...

    async def collections(self, space: str) -> CollectionList: ...

    async def set_collection(self, space: str, collection: str, change: CollectionChange) -> CollectionSettings:
        """Change what `change` names and give the settings as they are then. `merge-fixed` (409)."""
        ...

    # --- records ---

    async def read_record(self, space: str, collection: str, key: str) -> RecordView:
        """`record-not-found` (404) also for a record that is parked."""
        ...

    async def list_records(
        self, space: str, collection: str, prefix: str, limit: int, cursor: str | None
    ) -> RecordPage:
        """Give at most `limit` records whose key starts with `prefix`, and fewer rather than more than about
        4 MiB.

        An unknown collection is empty. A cursor that is not ours is `bad-cursor` (400).
        """
        ...

    async def write(self, space: str, changes: Sequence[ChangeRequest]) -> WriteResult:
        """Apply all changes as one transaction, or none; return when it is durable.

        `precondition-failed` (412) for if_match, if_none_match, and a patch of a record that was deleted
        since `seen`; `record-not-found` (404) for a patch of an absent record, and for a delete with
        `must_exist`; `too-large` (413).
        """
        ...

    async def write_each(self, space: str, changes: Sequence[ChangeRequest]) -> Sequence[WriteResult | UserError]:
        """Apply each change as a transaction of its own, in their order; return when all that were not refused are
        durable.

        Gives for each what `write` would have given or raised, and leaves the others alone. What is not the fault
        of a change is raised: `removed` (403), a failure of the store. A part may be written then, and the sentence
        says how much.
        """
        ...

    async def changes(
        self, space: str, since: str | None, *, follow: bool
    ) -> AsyncGenerator[Sequence[ChangeEvent], None]:
        """Check the arguments, then give the feed, as batches that are never empty.

        `since` None: `reset`, then the whole state. `since` "now": only what happens from now on. Otherwise
        a token of an earlier event; one that this copy no longer can continue gives `reset` and the state.
        After the backlog comes `current`; there the feed ends unless `follow`. The next batch is read from
        the log when the reader is ready for it: nothing queues up behind a slow one.
        """
        ...

    async def log(self, space: str, wanted: LogFilter, limit: int, cursor: str | None) -> LogPage: ...

    async def versions(self, space: str, collection: str, key: str, limit: int, cursor: str | None) -> RecordHistory:
        """What a record was, also one that is gone; nothing of one that nobody knows."""
        ...

    async def record_then(self, space: str, collection: str, key: str, at_ms: int) -> RecordThen:
        """What a record showed here at a time. `before-history` (409)."""
        ...

    async def revert(self, space: str, wish: Revert) -> RevertResult:
        """Undo a portion of what `wish` names. `transaction-not-found` (404), `before-history` (409)."""
        ...

    # --- conflicts ---

    async def conflicts(
        self, space: str, *, collection: str | None, key: str | None, limit: int, cursor: str | None
    ) -> ConflictList: ...

    async def resolve(self, space: str, conflict: str, resolution: Resolution) -> WriteResult:
        """Settle a conflict. `resolution` has exactly one of choose, value and drop.

        `conflict-not-found` (404) also when it is settled already; `precondition-failed` (412) if `etag` is
        not its etag any more; `bad-choice` (400) if no value has that number.
        """
        ...

    # --- members ---

    async def invite(self, space: str, *, assume_yes: bool) -> AsyncGenerator[InvitationEvent, None]:
        """Open an invitation, and give its events from the code to the admission.

        Closing the stream cancels it. `invitation-open` (409) if there is one already. What goes wrong later
        is raised as `UserError` by the stream, and becomes its last line.
        """
        ...

    async def confirm_invitation(self, invitation: str, *, admit: bool) -> None:
        """Answer the device that asks. `invitation-not-found` (404), `nobody-asks` (409)."""
        ...

    async def cancel_invitation(self, invitation: str) -> None: ...

    async def join(self, request: NewJoin) -> Joined:
        """Join a space. `request` has exactly one of code and device.

        Takes as long as the other side does.
        """
        ...

    async def members(self, space: str) -> MemberList: ...

    async def admit(self, space: str, device: str, role: str) -> MemberView:
        """Admit a device by its id in text form, checked here: `bad-device-id` (400)."""
        ...

    async def remove(self, space: str, device: str) -> None:
        """Remove a member for good. `not-member` (404), `not-admin` (403)."""
        ...

    # --- tables ---

    async def bind(self, space: str, wish: NewBinding) -> BindingReport:
        """Bind a database; with `dry_run` only say what that would do. Returns when the file is prepared; its rows and
        the records meet after that.

        `tables-undecided` (409) with the report if the schema leaves something open, `both-have-data` (409),
        `tables-refused` (409), `tables-unknown` (409), `binding-exists` (409); TableTrouble.
        """
        ...

    async def bindings(self, space: str) -> BindingList: ...

    async def unbind(self, space: str, binding: str, *, force: bool) -> Unbound:
        """Remove every trace of peerd from the file. With `force` the binding is forgotten also where the file cannot
        be cleaned. `binding-not-found` (404); TableTrouble.
        """
        ...

    async def clean_file(self, database: str) -> CleanedFile:
        """Remove every trace of peerd from a file that no binding knows. `file-bound` (409); TableTrouble."""
        ...

    async def held(self, space: str, binding: str) -> HeldList: ...

    async def answer_held(self, space: str, binding: str, answer: HeldAnswer) -> HeldList:
        """Let deletes go on, or undo them; gives what is still held."""
        ...

    # --- relays ---

    async def relays(self) -> RelayList: ...

    async def sync_relays(self, wish: RelaySync) -> RelayList:
        """Look at them now and answer when that is done or has failed. `relay-not-found` (404)."""
        ...

    async def check_relays(self, relay: str | None) -> RelayCheckList:
        """Try what is needed of each, or of one. `relay-not-found` (404)."""
        ...

    # --- invitations by file ---

    async def invite_by_file(self, space: str, days: int, role: str) -> tuple[bytes, str, int]:
        """Give the file, its code, and when it expires. `not-admin` (403), `roster-too-large` (409)."""
        ...

    async def withdraw_file(self, space: str, ticket: str) -> None:
        """`not-invited` (404), `not-admin` (403)."""
        ...

    async def join_by_file(self, file: bytes, code: str, name: str | None) -> Petitioned:
        """`bad-code` and `bad-invitation` (400), `expired`, `space-exists` and `already-member` (409)."""
        ...
