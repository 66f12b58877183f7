"""A service that only remembers what it was asked, a server in front of it, and a client that hides
nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from peerd.control.lobby import Limits
from peerd.control.server import ControlServer
from peerd.control.service import Service
from peerd.errors import UserError
from peerd.protocol.control.backups import BackupEvent, BackupMade, BackupOf
from peerd.protocol.control.history import RecordHistory, RecordThen, RecordVersion, Revert, Reverted, RevertResult
from peerd.protocol.control.messages import (
    ChangeEvent,
    ChangeRequest,
    ChangeResult,
    CollectionChange,
    CollectionList,
    CollectionSettings,
    CollectionView,
    ConflictList,
    ConflictValue,
    ConflictView,
    LogChange,
    LogEntry,
    LogFilter,
    LogPage,
    RecordPage,
    RecordView,
    Resolution,
    WriteResult,
)
from peerd.protocol.control.recopy import AsideList, AsideView, Recopied
from peerd.protocol.control.relays import RelayCheckList, RelayList, RelaySync, RelayView
from peerd.protocol.control.reports import (
    DeviceStatus,
    Forgotten,
    Health,
    InvitationEvent,
    Joined,
    MemberList,
    MemberView,
    NewJoin,
    PeerList,
    PeerStatus,
    PeerView,
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
    BindingView,
    BoundTable,
    CleanedFile,
    HeldAnswer,
    HeldList,
    HeldTable,
    NewBinding,
    TableReport,
    Unbound,
)
from peerd.protocol.control.tickets import Petitioned

T = TypeVar("T")
REPORT = BindingReport(
    name="todo",
    database="/home/ann/todo.db",
    bound=True,
    first="harvest",
    tables=[TableReport(table="tasks", collection="todo.tasks", key="surrogate", rows=3)],
)
BINDING = BindingView(
    name="todo",
    database="/home/ann/todo.db",
    state="in step",
    tables=[BoundTable(table="tasks", collection="todo.tasks", key="surrogate", rows=3, waiting=0, parked=0, held=0)],
)
RELAY = RelayView(relay="folder", space="home", state="idle", last_success_ms=5)
ASIDE = AsideView(name="00ff.aside-1", records=9, differing=3, unreadable=0, damaged=False, written_ms=5)
HELD = HeldList(held=[HeldTable(table="tasks", rows=150)])
RECORD = RecordView(collection="todo", key="1", value={"title": "milk", "n": 1}, etag="e1", conflicts=["title"])
SPACE = SpaceView(
    name="home",
    id="00ff",
    state="open",
    records=1,
    conflicts=1,
    clock={"aa": 3},
    digest="dd",
    peers=[PeerStatus(device="D", name="attic", state="synced", behind=0, ahead=0)],
)
MEMBER = MemberView(device="D", name="attic", role="admin", state="active")
WRITTEN = WriteResult(dot="aa:4", changed=True, results=[ChangeResult(collection="todo", key="1", etag="e2")])


class FakeService:
    """Answers with what it is told to; `calls` holds everything that got through to it.

    `failure`, if set, is raised by the next call; `gate`, if set, has to be opened before a write is
    answered; `refused` has the keys of which one of many changes is refused.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.written = WRITTEN
        self.refused: dict[str, UserError] = {}
        self.health_now = Health(live=True, ready=True, converged=False, reason="attic is 3 behind")
        self.events: asyncio.Queue[Sequence[ChangeEvent]] = asyncio.Queue()
        self.endless: ChangeEvent | None = None
        self.feed_event = ChangeEvent(kind="put", token="t", value={"a": "x" * (64 << 10)})  # noqa: S106 - no secret
        self.produced = 0
        self.open_feeds = 0
        self.feeds: list[AsyncGenerator[Any, None]] = []
        self.invitation: asyncio.Queue[InvitationEvent | Exception] = asyncio.Queue()
        self.join_ended = asyncio.Event()

    def _called(self, *call: Any) -> None:
        self.calls.append(call)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def _kept(self, feed: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        # Held on to, so that it ends because it is closed and not because it is forgotten.
        self.feeds.append(feed)
        return feed

    async def status(self) -> Status:
        self._called("status")
        return Status(version="1", device=DeviceStatus(id="D", name="kitchen", state="ok"), spaces=[SPACE])

    async def health(self) -> Health:
        self._called("health")
        return self.health_now

    async def metrics(self) -> str:
        self._called("metrics")
        return "peerd_up 1\n"

    async def reload(self) -> Reloaded:
        self._called("reload")
        return Reloaded(changed=["log.level"], needs_restart=[])

    async def pause(self) -> None:
        self._called("pause")

    async def resume(self) -> None:
        self._called("resume")

    async def peers(self) -> PeerList:
        self._called("peers")
        return PeerList(peers=[PeerView(device="D", name="attic", state="linked")])

    async def spaces(self) -> SpaceList:
        self._called("spaces")
        return SpaceList(spaces=[SPACE])

    async def create_space(self, name: str) -> SpaceView:
        self._called("create_space", name)
        return SPACE

    async def forget_space(self, name: str, *, delete: bool) -> Forgotten:
        self._called("forget_space", name, delete)
        return Forgotten(space=name, id="ab", set_aside="" if delete else "/x/ab-1.db")

    async def scrub_space(self, name: str) -> ScrubView:
        self._called("scrub_space", name)
        return ScrubView(records=3, runs=2)

    async def space(self, name: str) -> SpaceView:
        self._called("space", name)
        return SPACE

    async def collections(self, space: str) -> CollectionList:
        self._called("collections", space)
        view = CollectionView(name="todo", records=1, conflicts=0, settings=CollectionSettings())
        return CollectionList(collections=[view])

    async def set_collection(self, space: str, collection: str, change: CollectionChange) -> CollectionSettings:
        self._called("set_collection", space, collection, change)
        return CollectionSettings(policy="newest")

    async def read_record(self, space: str, collection: str, key: str) -> RecordView:
        self._called("read_record", space, collection, key)
        return RECORD

    async def list_records(
        self, space: str, collection: str, prefix: str, limit: int, cursor: str | None
    ) -> RecordPage:
        self._called("list_records", space, collection, prefix, limit, cursor)
        return RecordPage(records=[RECORD], cursor="c2")

    async def write(self, space: str, changes: Sequence[ChangeRequest]) -> WriteResult:
        self._called("write", space, list(changes))
        if self.gate is not None:
            await self.gate.wait()
            self.calls.append(("committed",))
        return self.written

    async def write_each(self, space: str, changes: Sequence[ChangeRequest]) -> Sequence[WriteResult | UserError]:
        self._called("write_each", space, list(changes))
        return [self.refused.get(change.key, self.written) for change in changes]

    async def changes(
        self, space: str, since: str | None, *, follow: bool
    ) -> AsyncGenerator[Sequence[ChangeEvent], None]:
        self._called("changes", space, since, follow)
        return self._kept(self._feed())

    async def _feed(self) -> AsyncGenerator[Sequence[ChangeEvent], None]:
        self.open_feeds += 1
        try:
            while self.endless is not None:
                self.produced += 1
                yield [self.endless]
                await asyncio.sleep(0)
            while batch := await self.events.get():
                yield batch
        finally:
            self.open_feeds -= 1

    async def log(self, space: str, wanted: LogFilter, limit: int, cursor: str | None) -> LogPage:
        self._called("log", space, wanted, limit, cursor)
        change = LogChange(kind="put", collection="todo", key="1", set={"title": "milk"})
        entry = LogEntry(dot="aa:3", device="D", device_name="attic", time_ms=1, arrived_ms=2, changes=[change])
        return LogPage(transactions=[entry])

    async def versions(self, space: str, collection: str, key: str, limit: int, cursor: str | None) -> RecordHistory:
        self._called("versions", space, collection, key, limit, cursor)
        version = RecordVersion(
            dot="aa:3", device="D", device_name="attic", time_ms=1, arrived_ms=2, kind="created", set={"title": "milk"},
            drop=[], value={"title": "milk"}, conflicts=[],
        )  # fmt: skip
        return RecordHistory(versions=[version])

    async def record_then(self, space: str, collection: str, key: str, at_ms: int) -> RecordThen:
        self._called("record_then", space, collection, key, at_ms)
        return RecordThen(collection=collection, key=key, at_ms=at_ms, value={"title": "milk"})

    async def revert(self, space: str, wish: Revert) -> RevertResult:
        self._called("revert", space, wish)
        record = Reverted(collection="todo", key="1", done="created", set={"title": "milk"})
        return RevertResult(dot="aa:4", preview=wish.preview, records=[record])

    async def conflicts(
        self, space: str, *, collection: str | None, key: str | None, limit: int, cursor: str | None
    ) -> ConflictList:
        self._called("conflicts", space, collection, key, limit, cursor)
        value = ConflictValue(n=0, value=1, device="D", device_name="attic", time_ms=1, dot="aa:3", shown=True)
        view = ConflictView(id="cc", kind="field", collection="todo", key="1", field="title", etag="e1", values=[value])
        return ConflictList(conflicts=[view])

    async def resolve(self, space: str, conflict: str, resolution: Resolution) -> WriteResult:
        self._called("resolve", space, conflict, resolution)
        return WRITTEN

    async def rebuild_space(self, name: str) -> SpaceView:
        self._called("rebuild_space", name)
        return SPACE

    async def look_through(self) -> AsyncGenerator[SpaceCheck, None]:
        self._called("look_through")

        async def checks() -> AsyncGenerator[SpaceCheck, None]:
            yield SpaceCheck(space="home")
            yield SpaceCheck(space="old", problem="it is damaged", next_step="rebuild it")

        return checks()

    async def back_up(self, target: str, *, keys: bool) -> AsyncGenerator[BackupEvent, None]:
        self._called("back_up", target, keys)

        async def events() -> AsyncGenerator[BackupEvent, None]:
            yield BackupEvent(space="home", copied_bytes=1, all_bytes=2)
            made = BackupOf(version="1", device="D", device_name="desk", made_ms=7, spaces=[])
            yield BackupEvent(made=BackupMade(path=target, keys=keys, backup=made))

        return events()

    async def invite(self, space: str, *, assume_yes: bool) -> AsyncGenerator[InvitationEvent, None]:
        self._called("invite", space, assume_yes)
        return self._kept(self._invitation())

    async def _invitation(self) -> AsyncGenerator[InvitationEvent, None]:
        self.open_feeds += 1
        try:
            yield InvitationEvent(id="i1", code="48219073", expires_in_s=120)
            while True:
                event = await self.invitation.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                if event.admitted is not None:
                    return
        finally:
            self.open_feeds -= 1

    async def confirm_invitation(self, invitation: str, *, admit: bool) -> None:
        self._called("confirm_invitation", invitation, admit)

    async def cancel_invitation(self, invitation: str) -> None:
        self._called("cancel_invitation", invitation)

    async def bind(self, space: str, wish: NewBinding) -> BindingReport:
        self._called("bind", space, wish)
        return REPORT

    async def bindings(self, space: str) -> BindingList:
        self._called("bindings", space)
        return BindingList(bindings=[BINDING])

    async def unbind(self, space: str, binding: str, *, force: bool) -> Unbound:
        self._called("unbind", space, binding, force)
        return Unbound(binding=binding, database="/todo.db", cleaned=not force)

    async def clean_file(self, database: str) -> CleanedFile:
        self._called("clean_file", database)
        return CleanedFile(database=database, cleaned=True)

    async def held(self, space: str, binding: str) -> HeldList:
        self._called("held", space, binding)
        return HELD

    async def answer_held(self, space: str, binding: str, answer: HeldAnswer) -> HeldList:
        self._called("answer_held", space, binding, answer)
        return HeldList(held=[])

    async def relays(self) -> RelayList:
        self._called("relays")
        return RelayList(relays=[RELAY])

    async def sync_relays(self, wish: RelaySync) -> RelayList:
        self._called("sync_relays", wish)
        return RelayList(relays=[RELAY])

    async def check_relays(self, relay: str | None) -> RelayCheckList:
        self._called("check_relays", relay)
        return RelayCheckList(relays=[])

    async def invite_by_file(self, space: str, days: int, role: str) -> tuple[bytes, str, int]:
        self._called("invite_by_file", space, days, role)
        return b"the file", "ABCDE-FGHIJ", 7

    async def withdraw_file(self, space: str, ticket: str) -> None:
        self._called("withdraw_file", space, ticket)

    async def join_by_file(self, file: bytes, code: str, name: str | None) -> Petitioned:
        self._called("join_by_file", file, code, name)
        return Petitioned(space="home", id="00ff", expires_ms=7, relays=["folder"])

    async def asides(self, space: str) -> AsideList:
        self._called("asides", space)
        return AsideList(asides=[ASIDE])

    async def recopy_from(self, space: str, device: str) -> Recopied:
        self._called("recopy_from", space, device)
        return Recopied(space="home", records=1, unreadable=0, aside="/a", device="D")

    async def recopy(self, space: str, aside: str) -> Recopied:
        self._called("recopy", space, aside)
        return Recopied(space="home", records=3, unreadable=0, aside="/state/set-aside/00ff-1.db")

    async def join(self, request: NewJoin) -> Joined:
        self._called("join", request)
        if request.host == "nobody:1":
            try:
                await asyncio.Event().wait()
            finally:
                self.join_ended.set()
        return Joined(space="home", id="00ff", device="D", device_name="attic")

    async def members(self, space: str) -> MemberList:
        self._called("members", space)
        return MemberList(members=[MEMBER])

    async def admit(self, space: str, device: str, role: str) -> MemberView:
        self._called("admit", space, device, role)
        return MEMBER

    async def remove(self, space: str, device: str) -> None:
        self._called("remove", space, device)


class Reply:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """Assert that this is a whole problem document of that kind, and give it."""
        assert (self.status, self.json.get("code")) == (status, code), self.body
        assert self.headers["content-type"] == "application/problem+json"
        assert self.json["status"] == status
        assert self.json["type"] == f"urn:peerd:error:{code}"
        assert self.json["title"]
        assert self.json["detail"]
        return dict(self.json)


class Talker:
    """One connection, and HTTP by hand: whatever is sent is sent as it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """Send a request with its length and type, and read its answer.

        A body that is not bytes becomes JSON.
        """
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None:
            lines += [f"Content-Length: {len(raw)}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
        return await self.read(head=method == "HEAD")

    async def read_head(self) -> Reply:
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in raw[1:]) if name}
        return Reply(int(raw[0].split(" ")[1]), headers, b"")

    async def read(self, *, head: bool = False) -> Reply:
        reply = await self.read_head()
        if head or reply.status in {204, 304}:
            return reply
        if reply.headers.get("transfer-encoding") == "chunked":
            while chunk := await self.chunk():
                reply.body += chunk
        elif "content-length" in reply.headers:
            reply.body = await self.reader.readexactly(int(reply.headers["content-length"]))
        else:
            reply.body = await self.reader.read()
        return reply

    async def chunk(self) -> bytes:
        """The next piece of a stream; nothing at its end."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def at_end(self) -> bool:
        """Wait until the other side closes."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (BrokenPipeError, ConnectionResetError):
            return


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is inside the server and has no event
            await asyncio.sleep(0.002)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Wait until a condition holds."""
    return _until


@pytest.fixture
def service() -> FakeService:
    checked: Service = FakeService()
    assert isinstance(checked, FakeService)
    return checked


@pytest.fixture
async def serve(service: FakeService, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[ControlServer]]]:
    """Start a server with limits and options of one's own; it listens at `tmp_path / "s"`."""
    servers = []

    async def start(**options: Any) -> ControlServer:
        limits = Limits(**options.pop("limits", {}))
        path = options.pop("path", tmp_path / "s")
        server = ControlServer(service, path, limits=limits, **options)
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Talker]]]:
    """Open a connection to the server."""
    talkers = []

    async def open_one(path: Path = tmp_path / "s", limit: int = 1 << 26) -> Talker:
        reader, writer = await asyncio.open_unix_connection(path, limit=limit)
        talkers.append(Talker(reader, writer))
        return talkers[-1]

    yield open_one
    for talker in talkers:
        await talker.close()


@pytest.fixture
async def talk(serve: Callable[..., Awaitable[ControlServer]], connect: Callable[..., Awaitable[Talker]]) -> Talker:
    """A connection to a server with the usual limits."""
    await serve()
    return await connect()
