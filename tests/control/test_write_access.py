"""The write group reaches the socket, or it is said why not."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peerd.control import write_access

WRITERS = 4711
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to any group")
Members = Callable[..., None]


@pytest.fixture
def place() -> Iterator[Path]:
    """A socket in a folder of its own, 0700, in one that anybody may pass."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "peerd"
        folder.mkdir(0o700)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "s"))
            (folder / "s").chmod(0o660)
            yield folder / "s"


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> Members:
    """The group of writers, with these members."""

    def make(*members: str) -> None:
        group = grp.struct_group(("writers", "x", WRITERS, list(members)))
        monkeypatch.setattr(grp, "getgrnam", lambda _name: group)

    make("ann")
    return make


@pytest.fixture
def powerless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No member of the group, and not root."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@needs_root
@pytest.mark.usefixtures("writers")
def test_the_group_gets_the_socket_and_may_pass_its_folder(place: Path) -> None:
    """To pass is not to list; nobody else gets anything; without the group it is as before."""
    assert write_access.give(place, "writers") is None
    assert (place.stat().st_gid, mode(place)) == (WRITERS, 0o660)
    assert (place.parent.stat().st_gid, mode(place.parent)) == (WRITERS, 0o710)
    assert write_access.give(place, "writers") is None
    assert write_access.give(place, "") is None
    assert (place.stat().st_gid, mode(place.parent)) == (os.getegid(), 0o700)


@needs_root
@pytest.mark.usefixtures("writers")
def test_a_folder_that_holds_something_else_stays_closed(place: Path) -> None:
    """It may be the one with the device's key."""
    (place.parent / "identity").mkdir()
    obstacle = write_access.give(place, "writers")
    assert obstacle is not None
    assert str(place.parent) in obstacle.cause
    assert "control.socket" in obstacle.next_step
    assert (place.stat().st_gid, mode(place.parent)) == (os.getegid(), 0o700)


@pytest.mark.usefixtures("writers")
def test_a_closed_folder_further_up_is_named(place: Path) -> None:
    """Such as a user's runtime directory."""
    above = place.parent.parent
    above.chmod(0o700)
    obstacle = write_access.give(place, "writers")
    assert obstacle is not None
    assert f"may not pass {above}" in obstacle.cause
    assert mode(place.parent) == 0o700


@pytest.mark.usefixtures("powerless")
@pytest.mark.parametrize("open_folder", [False, True])
def test_without_the_right_it_is_said_what_to_do(place: Path, writers: Members, open_folder: bool) -> None:  # noqa: FBT001 - a case
    """The group to join is named; if the folder can be passed it is the socket that cannot be given."""
    writers("nobody-here-is-called-so", "daemon")
    if open_folder:
        place.parent.chmod(0o755)
    obstacle = write_access.give(place, "writers")
    assert obstacle is not None
    assert str(place if open_folder else place.parent) in obstacle.cause
    assert "usermod -aG writers" in obstacle.next_step


@pytest.mark.usefixtures("powerless")
def test_nothing_is_said_where_nobody_is_kept_out(
    place: Path, writers: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group has no other member, or all of them are in the socket's own group, as with the system unit."""
    own = pwd.getpwuid(os.geteuid()).pw_name
    writers(own)
    assert write_access.give(place, "writers") is None
    place.parent.chmod(0o755)
    writers("ann")
    entry = pwd.getpwuid(os.geteuid())
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: entry)
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid, place.stat().st_gid])
    assert write_access.give(place, "writers") is None


def test_a_group_that_is_gone_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> grp.struct_group:
        raise KeyError(name)

    monkeypatch.setattr(grp, "getgrnam", missing)
    obstacle = write_access.give(place, "writers")
    assert obstacle is not None
    assert "no group writers" in obstacle.cause
