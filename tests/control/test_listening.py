"""Taking the socket's place without taking it from anybody."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from peerd.control import listening
from peerd.control.listening import AlreadyRunning
from peerd.errors import ConfigError


async def test_the_file_and_a_missing_folder_are_made_tight(tmp_path: Path) -> None:
    """0660 whatever the umask says, in a folder of 0700."""
    path = tmp_path / "new" / "deeper" / "s"
    for mask in (0o777, 0):
        before = os.umask(mask & 0o077)
        try:
            place = await listening.take(path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        place.socket.close()
        place.give_up()
        assert not path.exists()


async def test_the_mode_is_never_wider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even between bind and chmod."""
    seen = []
    real = Path.chmod

    def chmod(self: Path, mode: int, **more: Any) -> None:
        seen.append(stat.S_IMODE(self.stat().st_mode))
        real(self, mode, **more)

    monkeypatch.setattr(Path, "chmod", chmod)
    before = os.umask(0)
    try:
        place = await listening.take(tmp_path / "s")
    finally:
        os.umask(before)
    place.socket.close()
    assert seen == [0o660]


async def test_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    """Its daemon was killed."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    inode = path.stat().st_ino
    place = await listening.take(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert path.stat().st_ino != inode or place.socket.getsockname() == str(path)
    place.socket.close()


@pytest.mark.parametrize("full", [False, True])
async def test_a_living_socket_is_left_alone(tmp_path: Path, full: bool) -> None:  # noqa: FBT001 - a case
    """Also when its queue is full, because its daemon is busy."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        waiting = []
        for _ in range(3 if full else 0):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            client.connect_ex(str(path))
        with pytest.raises(AlreadyRunning) as caught:
            await listening.take(path)
        assert str(path) in str(caught.value)
        assert caught.value.next_step
        assert path.exists()
        for client in waiting:
            client.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    """It may be somebody's; a link may lead to somebody's."""
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"control\.socket"):
        await listening.take(path)
    assert path.is_symlink() == (kind == "link")
    assert kind != "file" or path.read_text() == "mine"


async def test_a_path_too_long_is_refused_in_words(tmp_path: Path) -> None:
    """The kernel would say `AF_UNIX path too long`, or cut it."""
    with pytest.raises(ConfigError, match="107 bytes"):
        await listening.take(tmp_path / ("x" * 120))


async def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"control\.socket"):
        await listening.take(tmp_path / "file" / "s")


async def test_only_one_of_many_gets_a_dead_place(tmp_path: Path) -> None:
    """All start at once, all see the dead socket, one takes it and keeps it."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    results = await asyncio.gather(*(listening.take(path) for _ in range(8)), return_exceptions=True)
    places = [result for result in results if isinstance(result, listening.Place)]
    assert len(places) == 1
    assert sum(isinstance(result, AlreadyRunning) for result in results) == 7
    places[0].socket.close()


async def test_starting_waits_for_the_one_who_is_binding(tmp_path: Path) -> None:
    """The folder is locked for that moment only."""
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    taking = asyncio.create_task(listening.take(tmp_path / "s"))
    await asyncio.sleep(0)
    assert not taking.done()
    os.close(holder)
    place = await taking
    place.socket.close()


async def test_a_place_that_another_has_taken_is_not_removed(tmp_path: Path) -> None:
    """Somebody removed our file and bound a socket there: theirs stays when we go."""
    path = tmp_path / "s"
    place = await listening.take(path)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        (tmp_path / "keeps-the-inode").touch()
        other.bind(str(path))
        place.socket.close()
        place.give_up()
        assert path.exists()


async def test_an_inherited_socket_is_adopted(tmp_path: Path) -> None:
    """The supervisor's file stays when we go."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as supervisor:
        supervisor.bind(str(path))
        supervisor.listen()
        place = listening.adopt(supervisor.fileno())
        assert place.socket.getsockname() == str(path)
        place.socket.close()
        place.give_up()
        assert path.exists()
        assert supervisor.fileno() > 0


@pytest.mark.parametrize("kind", ["inet", "datagram", "quiet", "file", "closed"])
def test_other_descriptors_are_not_adopted(tmp_path: Path, kind: str) -> None:
    """A wrong LISTEN_FDS is a mistake in a unit, told at the start."""
    if kind in {"file", "closed"}:
        descriptor = os.open(tmp_path, os.O_RDONLY)
        if kind == "closed":
            os.close(descriptor)
        with pytest.raises(ConfigError, match="inherited"):
            listening.adopt(descriptor)
        if kind == "file":
            os.close(descriptor)
        return
    family = socket.AF_INET if kind == "inet" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM) as wrong:
        if kind == "inet":
            wrong.bind(("127.0.0.1", 0))
            wrong.listen()
        with pytest.raises(ConfigError, match="inherited"):
            listening.adopt(wrong.fileno())
