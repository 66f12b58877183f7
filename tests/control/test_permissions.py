"""Who may write: by the kernel's word about the process at the other end."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from peerd.control.permissions import KNOWN_S, Caller, Permissions, caller_of
from peerd.errors import UserError

STRANGER = 54_321
NOBODY = 65_534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")

CLIENT = textwrap.dedent(
    """
    import os, socket, sys
    path, uid, gid, groups, request = sys.argv[1:]
    os.setgroups([int(group) for group in groups.split(",") if group])
    os.setgid(int(gid))
    os.setuid(int(uid))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(eval(request) )
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            sys.stdout.buffer.write(data)
    """
)


def caller(uid: int, gid: int = STRANGER, *groups: int) -> Caller:
    return Caller(uid, gid, 1, frozenset(groups))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group `writers`, 700, with the user 1001 in it."""

    def user(uid: int) -> Any:
        if uid not in {1001, 1002}:
            raise KeyError(uid)
        return pwd.struct_passwd((f"u{uid}", "x", uid, uid, "", "/", "/"))

    def group(name: str) -> Any:
        if name != "writers":
            raise KeyError(name)
        return grp.struct_group((name, "x", 700, ["u1001"]))

    monkeypatch.setattr(pwd, "getpwuid", user)
    monkeypatch.setattr(grp, "getgrnam", group)
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 700] if name == "u1001" else [gid])


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("group", "who", "may"),
    [
        ("", caller(0), True),
        ("", caller(1000), True),
        ("", caller(1001, 700, 700), False),
        ("", caller(STRANGER, 0, 0), False),
        ("writers", caller(1002, 700), True),
        ("writers", caller(1002, 1002, 5, 700), True),
        ("writers", caller(1001), True),
        ("writers", caller(1002), False),
        ("writers", caller(STRANGER), False),
        ("missing", caller(1001, 700, 700), False),
        ("missing", caller(0), True),
    ],
)
def test_the_rule(group: str, who: Caller, may: bool) -> None:  # noqa: FBT001 - a column of the table
    """Root, peerd's own user, the group by primary, supplementary or database membership; nobody else."""
    permissions = Permissions(group, lambda: 5.0, own_uid=1000)
    assert permissions.may_write(who) is may
    if not may:
        with pytest.raises(UserError) as caught:
            permissions.check_write(who)
        assert (caught.value.status, caught.value.code) == (403, "read-only")
        assert group in caught.value.next_step


def test_nobody_is_not_the_user_of_peerd() -> None:
    """Inside a user namespace every stranger shows as 65534."""
    assert not Permissions("", lambda: 5.0, own_uid=NOBODY).may_write(caller(NOBODY))


@pytest.mark.usefixtures("known")
def test_the_database_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be far away, and the refused may come back often; but who was added is let in without a
    restart.
    """
    now_s = 100.0
    members: list[int] = []
    asked: list[str] = []

    def groups_of(name: str, gid: int) -> list[int]:
        asked.append(name)
        return [gid, *members]

    monkeypatch.setattr(os, "getgrouplist", groups_of)
    permissions = Permissions("writers", lambda: now_s, own_uid=1000)
    for _ in range(3):
        assert not permissions.may_write(caller(1002))
    assert asked == ["u1002"]
    members.append(700)
    assert not permissions.may_write(caller(1002))
    now_s += KNOWN_S
    assert permissions.may_write(caller(1002))
    assert asked == ["u1002"] * 2


@pytest.mark.usefixtures("known")
def test_what_is_remembered_is_bounded() -> None:
    """Anybody can come with other groups each time."""
    permissions = Permissions("writers", lambda: 5.0, own_uid=1000)
    for number in range(2_000):
        permissions.may_write(caller(STRANGER, number))
    assert len(permissions._known) <= 256


def test_the_kernel_says_who_is_there() -> None:
    """Uid, primary group, process and supplementary groups."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        found = caller_of(ours)
    assert found == Caller(os.geteuid(), os.getegid(), os.getpid(), frozenset(os.getgroups()))


async def run_as(path: Path, uid: int, gid: int, groups: str, request: bytes) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", CLIENT, str(path), str(uid), str(gid), groups, repr(request), stdout=subprocess.PIPE
    )
    async with asyncio.timeout(20):
        output, _ = await process.communicate()
    assert process.returncode == 0
    return output


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter, as those of tests cannot be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@needs_root
@pytest.mark.parametrize(
    ("ids", "status"),
    [
        ((STRANGER, STRANGER, ""), 403),
        ((STRANGER, 4711, ""), 200),
        ((STRANGER, STRANGER, "5,4711"), 200),
        ((0, 0, ""), 200),
    ],
)
async def test_other_users_read_and_only_some_write(
    serve: Any,
    service: Any,
    open_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    ids: tuple[int, int, str],
    status: int,
) -> None:
    """Real processes of other users: whoever can connect reads, the group writes."""
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.struct_group((name, "x", 4711, [])))
    path = open_folder / "s"
    await serve(write_group="writers", path=path)
    await asyncio.to_thread(path.chmod, 0o666)
    assert b" 200 OK" in await run_as(path, *ids, b"GET /v1/peers HTTP/1.1\r\n\r\n")
    body = b'{"a":1}'
    head = b"PUT /v1/spaces/home/records/todo/1 HTTP/1.1\r\nContent-Length: 7\r\n\r\n"
    answer = await run_as(path, *ids, head + body)
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    writes = [call for call in service.calls if call[0] == "write"]
    assert len(writes) == (status == 200)
    if status == 403:
        assert b"usermod -aG writers" in answer


@needs_root
async def test_the_mode_keeps_strangers_out(serve: Any, open_folder: Path) -> None:
    """0660: neither owner nor group, so not even a connection."""
    await serve(path=open_folder / "s")
    arguments = [str(open_folder / "s"), str(STRANGER), str(STRANGER), "", "b''"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", CLIENT, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode != 0
    assert b"PermissionError" in errors


@needs_root
@pytest.mark.parametrize("later", [False, True])
async def test_the_write_group_can_connect(
    serve: Any,
    open_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    later: bool,  # noqa: FBT001 - a case
) -> None:
    """A member of another group than the daemon's, by the start or by a reload, in a folder that peerd made."""
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.struct_group((name, "x", 4711, ["ann"])))
    path = open_folder / "peerd" / "s"
    server = await serve(write_group="" if later else "writers", path=path)
    if later:
        server.set_write_group("writers")
    assert server.obstacle is None
    request = b"POST /v1/reload HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    assert b" 200 OK" in await run_as(path, STRANGER, 4711, "", request)
    server.set_write_group("")
    arguments = [str(path), str(STRANGER), "4711", "", "b''"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", CLIENT, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert b"PermissionError" in errors


async def test_an_obstacle_is_logged_with_what_to_do(
    serve: Any, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And kept, so that `status` and `doctor` show it."""
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.struct_group((name, "x", 4711, ["ann"])))
    await asyncio.to_thread(open_folder.chmod, 0o700)
    with capture_logs() as logged:
        server = await serve(write_group="writers", path=open_folder / "peerd" / "s")
    assert "may not pass" in server.obstacle.cause
    (line,) = [one for one in logged if one["event"] == "write group kept out"]
    assert "control.socket" in line["hint"]


async def test_every_writing_route_asks(
    serve: Any, connect: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is not GET is refused to a reader, before its body is read."""
    server = await serve()
    monkeypatch.setattr(server._permissions, "may_write", lambda _caller: False)
    for route in server._router.routes:
        target = route.pattern
        for name in route.names:
            target = target.replace("{" + name + "}", "5" if name == "time_ms" else "x")
        talk = await connect()
        if route.writes:
            await talk.send(f"{route.method} {target} HTTP/1.1\r\nContent-Length: 9\r\n\r\n".encode())
            (await talk.read()).problem(403, "read-only")
        elif not route.stream:
            assert (await talk.ask(route.method, target)).status in {200, 503}
        await talk.close()
    assert not [call for call in service.calls if call[0] in {"write", "join", "invite", "admit", "remove", "reload"}]


async def test_a_changed_group_counts_at_once(serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for connections that are open."""
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    monkeypatch.setattr("peerd.control.server.Permissions.may_write", lambda self, _caller: self._write_group == "b")
    server = await serve(write_group="a")
    talk = await connect()
    (await talk.ask("POST", "/v1/reload")).problem(403, "read-only")
    server.set_write_group("b")
    assert (await talk.ask("POST", "/v1/reload")).status == 200
