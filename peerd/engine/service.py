"""What the control socket asks for, handed to whoever does it. No rules of its own.

`hosts` resolves HOST:PORT; `reload_settings` is the daemon's, `couriers` are its relays, `files`
invites and asks by file, `backups` makes backups.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path

from peerd.core.device_id import format_device_id
from peerd.core.stored import NEVER_MS, Address
from peerd.engine.conflicts import Conflicts
from peerd.engine.feed import Feed
from peerd.engine.forks.recopying import recopy_from
from peerd.engine.links.dialing import Dialing
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.members.file_invitations import FileInvitations
from peerd.engine.members.inviting import Inviting
from peerd.engine.members.joining import Joining
from peerd.engine.past.history import History, Wanted
from peerd.engine.past.past import Past
from peerd.engine.past.reverting import Reverting, Selection
from peerd.engine.records import Records
from peerd.engine.relay.relays import Relays
from peerd.engine.repair.scrub_status import describe_scrub
from peerd.engine.spaces import Spaces
from peerd.engine.status import metrics
from peerd.engine.status.peers import shown
from peerd.engine.status.statuses import Statuses
from peerd.engine.tables.bindings import Bindings
from peerd.engine.upkeep.backups import Backups
from peerd.errors import StoreError, UserError
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
    AstrayAddress,
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


class Service:
    """Satisfies `peerd.control.service.Service`."""

    def __init__(
        self,
        spaces: Spaces,
        switchboard: Switchboard,
        dialing: Dialing,
        statuses: Statuses,
        inviting: Inviting,
        joining: Joining,
        bindings: Bindings,
    ) -> None:
        self.hosts: Callable[[str], Awaitable[tuple[Address, ...]]]
        self.reload_settings: Callable[[], Awaitable[Reloaded]]
        self.couriers: Relays
        self.files: FileInvitations
        self.backups: Backups
        self._spaces = spaces
        self._switchboard = switchboard
        self._dialing = dialing
        self._statuses = statuses
        self._inviting = inviting
        self._joining = joining
        self._bindings = bindings

    # ---- the daemon

    async def status(self) -> Status:
        return await self._statuses.status()

    async def health(self) -> Health:
        return self._statuses.health()

    async def metrics(self) -> str:
        return await metrics.render(self._spaces, self._switchboard, self._statuses, self.couriers.views().relays)

    async def reload(self) -> Reloaded:
        return await self.reload_settings()

    async def peers(self) -> PeerList:
        found = self._statuses.peers.everybody()
        found.astray = [
            AstrayAddress(address=shown(address), reason=why.text, next_step=why.next_step)
            for address, why in self._dialing.astray()
        ]
        return found

    async def pause(self) -> None:
        await self._switchboard.pause()

    async def resume(self) -> None:
        self._switchboard.paused = False
        self._dialing.nudge_all()

    async def back_up(self, target: str, *, keys: bool) -> AsyncGenerator[BackupEvent, None]:
        return await self.backups.make(Path(target), keys=keys)

    # ---- spaces

    async def spaces(self) -> SpaceList:
        return SpaceList(spaces=(await self._statuses.status()).spaces)

    async def create_space(self, name: str) -> SpaceView:
        return await self._statuses.spaces.view(await self._spaces.found(name))

    async def forget_space(self, name: str, *, delete: bool) -> Forgotten:
        space_id, aside = await self._spaces.forget(name, delete=delete)
        self._inviting.forget(space_id)
        self._dialing.refresh()
        return Forgotten(space=name, id=space_id.hex(), set_aside=aside)

    async def rebuild_space(self, name: str) -> SpaceView:
        space = await self._spaces.rebuild(name)
        self._dialing.nudge_all()
        return await self._statuses.spaces.view(space)

    async def look_through(self) -> AsyncGenerator[SpaceCheck, None]:
        return self._looking_through()

    async def _looking_through(self) -> AsyncGenerator[SpaceCheck, None]:
        for space in sorted(self._spaces.by_id.values(), key=lambda one: one.name):
            try:
                await space.store.look_through()
            except StoreError as problem:
                yield _damaged(space.name, problem)
            else:
                yield SpaceCheck(space=space.name)
        for name, failure in self._spaces.failed.items():
            yield _damaged(name, failure)

    async def space(self, name: str) -> SpaceView:
        return await self._statuses.spaces.view(self._spaces.named(name))

    async def scrub_space(self, name: str) -> ScrubView:
        space = self._spaces.named(name)
        await space.scrub.now()
        return describe_scrub(space)

    async def asides(self, space: str) -> AsideList:
        return AsideList(asides=[one.view() for one in await self._spaces.named(space).recopying.found()])

    async def recopy_from(self, space: str, device: str) -> Recopied:
        one = self._spaces.named(space)
        return await recopy_from(one, self._spaces.device_from(device, one), self._switchboard)

    async def recopy(self, space: str, aside: str) -> Recopied:
        return await self._spaces.named(space).recopying.take_in(aside)

    async def collections(self, space: str) -> CollectionList:
        one = self._spaces.named(space)
        counts, _ = await Conflicts(one).counts()
        return await Records(one).collections(counts)

    async def set_collection(self, space: str, collection: str, change: CollectionChange) -> CollectionSettings:
        return await Records(self._spaces.named(space)).set_collection(collection, change)

    # ---- records

    async def read_record(self, space: str, collection: str, key: str) -> RecordView:
        return await Records(self._spaces.named(space)).read(collection, key)

    async def list_records(
        self, space: str, collection: str, prefix: str, limit: int, cursor: str | None
    ) -> RecordPage:
        return await Records(self._spaces.named(space)).list(collection, prefix, limit, cursor)

    async def write(self, space: str, changes: Sequence[ChangeRequest]) -> WriteResult:
        return await Records(self._spaces.named(space)).write(changes)

    async def write_each(self, space: str, changes: Sequence[ChangeRequest]) -> Sequence[WriteResult | UserError]:
        return await Records(self._spaces.named(space)).write_each(changes)

    async def changes(
        self, space: str, since: str | None, *, follow: bool
    ) -> AsyncGenerator[Sequence[ChangeEvent], None]:
        return await Feed(self._spaces.named(space)).open(since, follow=follow)

    # ---- what was

    async def log(self, space: str, wanted: LogFilter, limit: int, cursor: str | None) -> LogPage:
        one = self._spaces.named(space)
        who = None if wanted.device is None else self._spaces.device_from(wanted.device, one)
        chosen = Wanted(who, wanted.collection, wanted.key, wanted.since_ms, wanted.until_ms)
        return await History(one).page(chosen, limit, cursor)

    async def versions(self, space: str, collection: str, key: str, limit: int, cursor: str | None) -> RecordHistory:
        return await Past(self._spaces.named(space)).versions((collection, key), limit, cursor)

    async def record_then(self, space: str, collection: str, key: str, at_ms: int) -> RecordThen:
        return await Past(self._spaces.named(space)).then((collection, key), at_ms)

    async def revert(self, space: str, wish: Revert) -> RevertResult:
        one = self._spaces.named(space)
        reverting = Reverting(one)
        origins = None
        if wish.device is not None:
            device = self._spaces.device_from(wish.device, one)
            origins = frozenset(origin for origin, at in one.copy.origins.items() if at.announcement.device == device)
        selection = Selection(
            None if wish.transaction is None else reverting.find(wish.transaction),
            origins,
            wish.since_ms or 0,
            NEVER_MS if wish.until_ms is None else wish.until_ms,
            wish.collection,
            wish.key,
            wish.anyway,
        )
        return await reverting.portion(selection, wish.cursor, preview=wish.preview)

    # ---- conflicts

    async def conflicts(
        self, space: str, *, collection: str | None, key: str | None, limit: int, cursor: str | None
    ) -> ConflictList:
        one = Conflicts(self._spaces.named(space))
        return await one.list(collection=collection, key=key, limit=limit, cursor=cursor)

    async def resolve(self, space: str, conflict: str, resolution: Resolution) -> WriteResult:
        return await Conflicts(self._spaces.named(space)).resolve(conflict, resolution)

    # ---- members

    async def invite(self, space: str, *, assume_yes: bool) -> AsyncGenerator[InvitationEvent, None]:
        return await self._inviting.invite(self._spaces.named(space), assume_yes=assume_yes)

    async def confirm_invitation(self, invitation: str, *, admit: bool) -> None:
        self._inviting.confirm(invitation, admit=admit)

    async def cancel_invitation(self, invitation: str) -> None:
        self._inviting.cancel(invitation)

    async def join(self, request: NewJoin) -> Joined:
        if (request.code is None) == (request.device is None):
            raise UserError("give a code, or the device that admits this one", code="bad-body")
        named = None if request.device is None else self._spaces.device_from(request.device)
        hosts = None if request.host is None else [await self.hosts(request.host)]
        return await self._joining.join(request.code, named, hosts, request.name)

    async def members(self, space: str) -> MemberList:
        return await self._statuses.spaces.members(self._spaces.named(space))

    async def admit(self, space: str, device: str, role: str) -> MemberView:
        one, who = self._spaces.named(space), self._spaces.device_from(device)
        awaited = await self._inviting.await_device(one, who, role)
        device = format_device_id(who)
        return MemberView(device=device, name="", role=role, state="awaited", expires_ms=awaited.expires_ms)

    async def remove(self, space: str, device: str) -> None:
        one = self._spaces.named(space)
        who = self._spaces.device_from(device, one)
        if who in one.awaited and not one.roster.is_member(who):
            await self._inviting.stop_awaiting(one, who)
        else:
            await self._spaces.remove(one, who)

    # ---- tables

    async def bind(self, space: str, wish: NewBinding) -> BindingReport:
        return await self._bindings.bind(self._spaces.named(space), wish)

    async def bindings(self, space: str) -> BindingList:
        return await self._bindings.list(self._spaces.named(space))

    async def unbind(self, space: str, binding: str, *, force: bool) -> Unbound:
        return await self._bindings.unbind(self._spaces.named(space), binding, force=force)

    async def clean_file(self, database: str) -> CleanedFile:
        return await self._bindings.clean(Path(database))

    async def held(self, space: str, binding: str) -> HeldList:
        return await self._bindings.held(self._spaces.named(space), binding)

    async def answer_held(self, space: str, binding: str, answer: HeldAnswer) -> HeldList:
        return await self._bindings.answer_held(self._spaces.named(space), binding, answer)

    # ---- relays

    async def relays(self) -> RelayList:
        return self.couriers.views()

    async def sync_relays(self, wish: RelaySync) -> RelayList:
        return await self.couriers.sync(wish)

    async def check_relays(self, relay: str | None) -> RelayCheckList:
        return await self.couriers.check(relay)

    # ---- invitations by file

    async def invite_by_file(self, space: str, days: int, role: str) -> tuple[bytes, str, int]:
        return await self.files.invite(self._spaces.named(space), days, role)

    async def withdraw_file(self, space: str, ticket: str) -> None:
        await self.files.withdraw(self._spaces.named(space), ticket)

    async def join_by_file(self, file: bytes, code: str, name: str | None) -> Petitioned:
        space = await self.files.ask(file, code, name)
        await self.couriers.look_again()
        petition = space.petition
        return Petitioned(
            space=space.name,
            id=space.id.hex(),
            expires_ms=petition.expires_ms if petition else 0,
            relays=self.couriers.names_of(space),
        )


def _damaged(name: str, problem: Exception) -> SpaceCheck:
    step = problem.step_in(name) if isinstance(problem, StoreError) else ""
    return SpaceCheck(space=name, problem=str(problem), next_step=step)
