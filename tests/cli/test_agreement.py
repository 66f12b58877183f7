"""peerctl and the daemon's own socket understand each other: addresses, bodies, headers, documents, streams."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from peerd.control.server import ControlServer
from peerd.errors import UserError
from peerd.protocol.control import messages as said
from peerd.protocol.control import reports as reported
from peerd.protocol.control import tables as bound

PEER = reported.PeerStatus(device="NASAAAA", name="nas", state="in sync", behind=0, ahead=0, since_ms=0)
SPACE = reported.SpaceView(
    name="home", id="00", state="in sync", records=1, conflicts=1, clock={"aa": 3}, digest="dd", peers=[PEER]
)
RECORD = said.RecordView(collection="books", key="k/1", value={"t": "ü"}, etag="e1", conflicts=["t"])
WRITTEN = said.WriteResult(
    dot="aa:4", changed=True, results=[said.ChangeResult(collection="books", key="k", etag="e2", created=True)]
)
VALUE = said.ConflictValue(n=1, value=1, device=None, device_name="nas", time_ms=1, dot="aa:3", shown=True)
CONFLICT = said.ConflictView(
    id="c1", kind="field", collection="books", key="k", field="t", etag="e", values=[VALUE, VALUE]
)
CHANGE = said.LogChange(kind="patch", collection="books", key="k", set={"t": 1})
ENTRY = said.LogEntry(dot="aa:3", device=None, device_name="nas", time_ms=1, arrived_ms=2, changes=[CHANGE])
MEMBER = reported.MemberView(device="NASAAAA", name="nas", role="admin", state="member")
SETTINGS = said.CollectionSettings(policy="newest")
LAST = "t1"
ANSWERS: dict[str, Any] = {
    "status": reported.Status(
        version="1", device=reported.DeviceStatus(id="K", name="kitchen", state="running"), spaces=[SPACE]
    ),
    "health": reported.Health(live=True, ready=True, converged=True),
    "reload": reported.Reloaded(changed=[], needs_restart=[]),
    "peers": reported.PeerList(peers=[reported.PeerView(device="NASAAAA", name="nas", state="connected")]),
    "spaces": reported.SpaceList(spaces=[SPACE]),
    "create_space": SPACE,
    "forget_space": reported.Forgotten(space="home", id="00", set_aside="/state/set-aside/00-1.db"),
    "collections": said.CollectionList(
        collections=[said.CollectionView(name="books", records=2, conflicts=0, settings=SETTINGS)]
    ),
    "set_collection": SETTINGS,
    "read_record": RECORD,
    "list_records": said.RecordPage(records=[RECORD]),
    "write": WRITTEN,
    "write_each": [WRITTEN] * 500,
    "log": said.LogPage(transactions=[ENTRY]),
    "conflicts": said.ConflictList(conflicts=[CONFLICT]),
    "resolve": WRITTEN,
    "confirm_invitation": None,
    "join": reported.Joined(space="home", id="00", device="NASAAAA", device_name="nas"),
    "members": reported.MemberList(members=[MEMBER]),
    "admit": MEMBER,
    "remove": None,
    "bind": bound.BindingReport(
        name="todo",
        database="/todo.db",
        bound=True,
        first="harvest",
        tables=[bound.TableReport(table="tasks", collection="todo.tasks", key="natural")],
    ),
    "bindings": bound.BindingList(
        bindings=[
            bound.BindingView(
                name="todo",
                database="/todo.db",
                state="in step",
                tables=[bound.BoundTable(table="tasks", collection="todo.tasks", key="natural")],
            )
        ]
    ),
    "unbind": bound.Unbound(binding="todo", database="/todo.db", cleaned=True),
    "clean_file": bound.CleanedFile(database="/todo.db", cleaned=True),
    "held": bound.HeldList(held=[bound.HeldTable(table="tasks", rows=150)]),
    "answer_held": bound.HeldList(held=[]),
    "pause": None,
    "resume": None,
}


class Service:
    """Gives each answer of the table, and remembers what it was asked."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.refusal: UserError | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in ANSWERS:
            raise AttributeError(name)

        async def answer(*args: Any, **named: Any) -> Any:
            self.calls.append((name, args, named))
            if self.refusal:
                raise self.refusal
            return ANSWERS[name]

        return answer

    async def invite(self, *args: Any, **named: Any) -> AsyncGenerator[reported.InvitationEvent, None]:
        self.calls.append(("invite", args, named))

        async def events() -> AsyncGenerator[reported.InvitationEvent, None]:
            yield reported.InvitationEvent(id="i1", code="48219073", expires_in_s=120)
            yield reported.InvitationEvent(id="i1", asking={"device": "P", "name": "phone"})
            if self.refusal:
                raise self.refusal
            yield reported.InvitationEvent(id="i1", admitted={"device": "P", "name": "phone"})

        return events()

    async def changes(self, *args: Any, **named: Any) -> AsyncGenerator[list[said.ChangeEvent], None]:
        self.calls.append(("changes", args, named))

        async def feed() -> AsyncGenerator[list[said.ChangeEvent], None]:
            yield [said.ChangeEvent(kind="put", token=LAST, collection="books", key="k", value={"n": 1})]
            yield [said.ChangeEvent(kind="current", token=LAST)]

        return feed()


@pytest.fixture
def service() -> Iterator[Service]:
    """A service behind the daemon's own server, in a loop of its own."""
    folder = tempfile.mkdtemp(prefix="peerctl-", dir="/tmp")  # a socket's path has 108 bytes at most
    asked: Any = Service(f"{folder}/s")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ControlServer(asked, asked.socket)
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    yield asked
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    shutil.rmtree(folder)


@pytest.fixture
def ask(service: Service, peerctl: Any) -> Any:
    """Run a command against that service instead of the one that a test tells what to say."""
    return lambda *argv, **options: peerctl("--socket", service.socket, *argv, **options)


COMMANDS: list[tuple[tuple[str, ...], int, str]] = [
    (("status",), 5, "status"),
    (("peers",), 0, "peers"),
    (("device",), 0, "status"),
    (("space", "create", "home"), 0, "create_space"),
    (("space", "list"), 0, "spaces"),
    (("space", "forget", "home", "--yes"), 0, "forget_space"),
    (("members", "home"), 0, "members"),
    (("remove", "home", "nas", "--yes"), 0, "remove"),
    (("admit", "home", "NASAAAA"), 0, "admit"),
    (("collection", "home", "books"), 0, "collections"),
    (("collection", "home", "books", "--policy", "newest"), 0, "set_collection"),
    (("invite", "home", "--yes"), 0, "invite"),
    (("join", "48219073"), 0, "join"),
    (("join", "--from", "NASAAAA", "--host", "h:1", "--yes"), 0, "join"),
    (("get", "home", "books", "k/1"), 0, "read_record"),
    (("put", "home", "books", "k", "{}"), 0, "write"),
    (("patch", "home", "books", "k", '{"a": 1}', "--drop", "b"), 0, "write"),
    (("delete", "home", "books", "k"), 0, "write"),
    (("list", "home"), 0, "collections"),
    (("list", "home", "books", "--prefix", "k"), 0, "list_records"),
    (("watch", "home"), 0, "changes"),
    (("export", "home", "books"), 0, "list_records"),
    (("conflicts", "home", "--collection", "books", "--key", "k"), 5, "conflicts"),
    (("resolve", "home", "c1", "--choose", "1"), 0, "resolve"),
    (("tables", "bind", "home", "/todo.db", "--yes", "--key", "tasks=content", "--match", "tasks=a,b"), 0, "bind"),
    (("tables", "unbind", "home", "todo"), 0, "unbind"),
    (("tables", "unbind", "--file", "/todo.db"), 0, "clean_file"),
    (("tables", "list"), 0, "bindings"),
    (("tables", "held", "home", "todo"), 0, "held"),
    (("tables", "held", "home", "todo", "--approve", "tasks"), 0, "answer_held"),
    (("log", "home", "--device", "NASAAAA", "--limit", "5"), 0, "log"),
    (("reload",), 0, "reload"),
    (("pause",), 0, "pause"),
    (("resume",), 0, "resume"),
]


@pytest.mark.parametrize("flags", [(), ("--json",)])
@pytest.mark.parametrize(("argv", "code", "method"), COMMANDS)
def test_every_command_is_understood(
    service: Service, ask: Any, argv: tuple[str, ...], code: int, method: str, flags: tuple[str, ...]
) -> None:
    """The daemon finds the route, takes the body, and the command understands the answer."""
    got = ask(*argv, *flags)
    assert got.code == code, got.err
    assert method in {call[0] for call in service.calls}
    for line in got.out.splitlines() if flags and argv[0] != "export" else ():
        json.loads(line)


def last(service: Service, method: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return [call[1:] for call in service.calls if call[0] == method][-1]


def test_writes_arrive_with_their_conditions(service: Service, ask: Any) -> None:
    ask("put", "home", "books", "k/1 ü", '{"a": 1.0}', "--if-match", "e1", "--seen", "e0")
    change = said.ChangeRequest(kind="put", collection="books", key="k/1 ü", value={"a": 1.0}, if_match="e1", seen="e0")
    assert last(service, "write") == (("home", [change]), {})
    ask("put", "home", "books", "k", "{}", "--create")
    assert last(service, "write")[0][1][0].if_none_match
    ask("put", "home", "books", "k", '{"a": null}', "--patch", "--seen", "")
    change = said.ChangeRequest(kind="patch", collection="books", key="k", set={"a": None}, seen="")
    assert last(service, "write") == (("home", [change]), {})


def test_a_file_arrives_as_transactions_and_as_single_writes(service: Service, ask: Any, tmp_path: Path) -> None:
    file = tmp_path / "books.ndjson"
    file.write_text("".join(f'{{"id": {number}}}\n' for number in range(1500)))
    got = ask("import", "home", "books", str(file), "--key", "id", "--json")
    assert (got.code, json.loads(got.out)["transactions"]) == (0, 2)
    assert [len(call[1][1]) for call in service.calls] == [1000, 500]
    service.calls.clear()
    file.write_text("".join(f'{{"id": {number}}}\n' for number in range(500)))
    got = ask("import", "home", "books", str(file), "--key", "id", "--json", "--each")
    assert (got.code, json.loads(got.out)["transactions"]) == (0, 500)
    assert [(call[0], len(call[1][1])) for call in service.calls] == [("write_each", 500)]


def test_refusals_arrive_as_they_were_raised(service: Service, ask: Any) -> None:
    service.refusal = UserError("it changed", code="precondition-failed", status=412, next_step="read again")
    got = ask("put", "home", "books", "k", "{}")
    assert (got.code, got.err) == (6, "peerctl: it changed [precondition-failed]\n  next: read again\n")
    got = ask("get", "no such space/..", "books", "k")
    assert (got.code, got.out) == (2, "")


def test_an_invitation_that_fails_says_so_in_its_stream(service: Service, ask: Any) -> None:
    service.refusal = UserError("three wrong codes", code="too-many-tries", status=409, next_step="invite again")
    got = ask("invite", "home", "--yes", "--json")
    assert got.code == 6
    lines = [json.loads(line) for line in got.out.splitlines()]
    assert lines[0]["code"] == "48219073"
    assert got.out.startswith('{"code": "48219073", '), "before an id that may look like a code"
    assert lines[-1]["error"]["code"] == "too-many-tries"


def test_the_person_answers_through_the_same_socket(service: Service, ask: Any) -> None:
    assert ask("invite", "home", stdin="y\n").code == 0
    assert last(service, "confirm_invitation") == (("i1",), {"admit": True})


def test_a_member_of_a_transaction_is_refused_by_its_line(service: Service, ask: Any) -> None:
    text = '{"id": "a"}\n\n{"id": "b", "\\u0000": 1}\n'
    got = ask("import", "home", "books", "-", "--key", "id", stdin=text)
    assert got.code == 2
    assert got.err.startswith("peerctl: line 3: ")
    assert service.calls == []


def test_a_single_write_among_many_is_refused_by_its_line(service: Service, ask: Any) -> None:
    """What is good of the same request arrives all the same."""
    text = '{"id": "b", "\\u0000": 1}\n' + "".join(f'{{"id": {number}}}\n' for number in range(500))
    got = ask("import", "home", "books", "-", "--key", "id", "--each", stdin=text)
    assert got.code == 2
    assert "peerctl: line 1: " in got.err
    assert "[bad-name]" in got.err
    assert len(last(service, "write_each")[0][1]) == 500
