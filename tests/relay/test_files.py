"""Objects as files, whatever is done to the folder meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from peerd.errors import RelayTrouble
from peerd.relay import files as module
from peerd.relay.files import STALE_S, Files, mark, tag_of
from peerd.relay.folder_trouble import MARK

MOST_BYTES = 1_000
NAME = sha256(b"a name").hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "relay"
    folder.mkdir()
    mark(folder)
    return folder


@pytest.fixture
def files(folder: Path) -> Iterator[Files]:
    with Files(folder, MOST_BYTES) as files:
        yield files


def path_of(folder: Path, name: str = NAME) -> Path:
    return folder / name[:2] / name


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def names_below(folder: Path) -> set[str]:
    return {one.name for one in folder.rglob("*") if not one.is_dir()} - {MARK}


# ---- how a file gets its name


def _cannot(*_args: Any, **_more: Any) -> None:
    raise OSError(errno.EPERM, "no hard links here")


@pytest.fixture(params=["link", "rename", "look"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways of giving a new name, each as on a file system that has no better one."""
    if request.param != "link":
        monkeypatch.setattr(os, "link", _cannot)
    if request.param == "look":
        monkeypatch.setattr(module, "_rename_new", _cannot)
    return str(request.param)


def test_a_file_is_made_once(folder: Path, files: Files, way: str) -> None:
    assert files.create(NAME, b"data")
    assert files.create(NAME, b"data")
    assert not files.create(NAME, b"other")
    assert path_of(folder).read_bytes() == b"data"
    assert names_below(folder) == {NAME}


def test_a_name_that_is_taken_at_the_last_moment_is_left(
    folder: Path, files: Files, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another device is as fast as we are: it comes between the look and the naming."""
    read = Files._read

    def taken(one: Files, shelf: int, name: str) -> bytes | None:
        found = read(one, shelf, name)
        if found is None:
            put(path_of(folder), b"theirs")
        return found

    monkeypatch.setattr(Files, "_read", taken)
    assert not files.create(NAME, b"ours")
    assert files.create(NAME, b"theirs")
    assert path_of(folder).read_bytes() == b"theirs"
    assert names_below(folder) == {NAME}


@pytest.mark.parametrize(
    "rubbish",
    [
        pytest.param(lambda path: put(path, b""), id="empty"),
        pytest.param(lambda path: path.symlink_to("/etc/hostname"), id="link"),
        pytest.param(lambda path: path.symlink_to("nowhere"), id="dangling link"),
        pytest.param(os.mkfifo, id="pipe"),
    ],
)
def test_what_is_no_object_is_not_there_and_makes_way(
    folder: Path, files: Files, way: str, rubbish: Callable[[Path], object]
) -> None:
    path_of(folder).parent.mkdir()
    rubbish(path_of(folder))
    assert files.read(NAME) is None
    assert files.create(NAME, b"data")
    assert path_of(folder).is_file()
    assert not path_of(folder).is_symlink()
    assert files.read(NAME) == b"data"


def test_a_folder_under_a_name_is_not_there_and_is_said_when_it_is_in_the_way(folder: Path, files: Files) -> None:
    path_of(folder).mkdir(parents=True)
    assert files.read(NAME) is None
    with pytest.raises(IsADirectoryError):
        files.create(NAME, b"data")
    with pytest.raises(IsADirectoryError):
        files.delete(NAME)
    assert names_below(folder) == set()


def test_a_shelf_that_leads_elsewhere_is_not_followed(folder: Path, files: Files, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    put(elsewhere / NAME, b"secret")
    path_of(folder).parent.symlink_to(elsewhere)
    assert files.read(NAME) is None
    files.delete(NAME)
    for act in (files.create, files.replace):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            act(NAME, b"data")
    assert (elsewhere / NAME).read_bytes() == b"secret"


# ---- copies that are not complete, stale and foreign ones


def test_a_file_that_is_still_being_copied_is_other_bytes(folder: Path, files: Files) -> None:
    for half in (b"da", b"da\0\0"):
        put(path_of(folder), half)
        assert files.read(NAME) == half
        assert not files.create(NAME, b"data")
    put(path_of(folder), b"data")
    assert files.create(NAME, b"data")


def test_what_is_too_long_is_read_up_to_the_limit_and_one(folder: Path, files: Files) -> None:
    put(path_of(folder), b"x" * (10 * MOST_BYTES))
    assert files.read(NAME) == b"x" * (MOST_BYTES + 1)
    files.replace(NAME, b"data")
    assert files.read(NAME) == b"data"


@pytest.mark.parametrize(
    "other",
    [
        f"{NAME} (conflicted copy)",
        f"{NAME}.sync-conflict-20300101-000000-ABCDEFG",
        f"{NAME}~",
        f".{NAME}.swp",
        f"{NAME} (1)",
        f"{NAME.upper()}",
    ],
)
def test_copies_beside_a_file_are_left_alone(folder: Path, files: Files, other: str) -> None:
    beside = put(path_of(folder).with_name(other), b"stale")
    assert files.read(NAME) is None
    assert files.create(NAME, b"data")
    files.sweep()
    files.delete(NAME)
    assert beside.read_bytes() == b"stale"


# ---- never torn


def test_a_reader_sees_whole_files_only(folder: Path, files: Files) -> None:
    wholes = [bytes([fill]) * 900 for fill in range(1, 5)]
    files.create(NAME, wholes[0])
    stop = threading.Event()
    seen: set[bytes | None] = set()

    def read() -> None:
        with Files(folder, MOST_BYTES) as others:
            while not stop.is_set():
                seen.add(others.read(NAME))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(100):
        files.replace(NAME, wholes[turn % 4])
    stop.set()
    reader.join()
    assert seen <= set(wholes)


_WRITER = """
import sys
from pathlib import Path
from peerd.relay.files import Files

with Files(Path(sys.argv[1]), 1 << 20) as files:
    print("begun", flush=True)
    for turn in range(1_000_000):
        files.replace(sys.argv[2], bytes([turn % 250 + 1]) * 300_000)
"""


@pytest.mark.parametrize("turn", range(5))
def test_a_writer_that_is_killed_leaves_a_whole_file_and_perhaps_a_draft(folder: Path, turn: int) -> None:
    with subprocess.Popen([sys.executable, "-c", _WRITER, folder, NAME], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        while not path_of(folder).exists():
            pass
        writer.send_signal(signal.SIGKILL)
    data = path_of(folder).read_bytes()
    assert data == data[:1] * 300_000
    assert all(one.startswith("~peerd-") for one in names_below(folder) - {NAME})


def test_drafts_of_crashed_writers_go_after_a_day(folder: Path, files: Files) -> None:
    shelf = put(path_of(folder), b"data").parent
    now_s = path_of(folder).stat().st_mtime
    old, fresh, foreign = (
        shelf / name for name in ("~peerd-" + "0" * 16 + ".tmp", "~peerd-" + "1" * 16 + ".tmp", "x.tmp")
    )
    in_root = folder / old.name
    for path in (old, fresh, foreign, in_root):
        put(path, b"half")
    for path in (old, foreign, in_root, path_of(folder)):
        os.utime(path, (now_s - STALE_S - 60, now_s - STALE_S - 60))
    files.sweep()
    assert names_below(folder) == {NAME, fresh.name, foreign.name}


@pytest.mark.parametrize("act", ["create", "create again", "replace", "delete"])
def test_what_is_done_is_durable(
    folder: Path, files: Files, way: str, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contents before the name, the name before the answer: a power cut shows the whole file or none."""
    steps: list[str] = []

    def noted(module: Any, what: str, of: Callable[..., str]) -> None:
        real = getattr(module, what)

        def note(*given: Any, **more: Any) -> Any:
            done = real(*given, **more)
            steps.append(of(*given))
            return done

        monkeypatch.setattr(module, what, note)

    if act in {"create again", "delete"}:
        files.create(NAME, b"data")
    noted(os, "fsync", lambda file: "sync " + Path(f"/proc/self/fd/{file}").readlink().name[:6])
    for module_, what in ((os, "link"), (module, "_rename_new"), (os, "rename"), (os, "replace"), (os, "mkdir")):
        noted(module_, what, lambda *_: "name")
    noted(os, "unlink", lambda name: "unlink" if name == NAME else "gone")
    acts: dict[str, Callable[[], object]] = {
        "create": lambda: files.create(NAME, b"data"),
        "create again": lambda: files.create(NAME, b"data"),
        "replace": lambda: files.replace(NAME, b"data"),
        "delete": lambda: files.delete(NAME),
    }
    acts[act]()
    made = ["name", "sync relay", "sync ~peerd", "name", f"sync {NAME[:2]}"]
    expected = {"create again": [f"sync {NAME[:6]}", f"sync {NAME[:2]}"], "delete": ["unlink", f"sync {NAME[:2]}"]}
    assert [step for step in steps if step != "gone"] == expected.get(act, made)


def test_a_failed_write_leaves_nothing(folder: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        files.replace(NAME, b"data")
    assert names_below(folder) == set()


def test_a_folder_that_cannot_be_synced_is_good_enough(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """SMB knows no sync of folders; of files it does."""
    sync = os.fsync

    def files_only(file: int) -> None:
        if Path(f"/proc/self/fd/{file}").is_dir():
            raise OSError(errno.EINVAL, "a folder")
        sync(file)

    monkeypatch.setattr(os, "fsync", files_only)
    assert files.create(NAME, b"data")
    files.replace(NAME, b"more")
    files.delete(NAME)


# ---- the folder itself


def test_a_folder_is_never_made(tmp_path: Path) -> None:
    for act in (lambda: Files(tmp_path / "nas", 1), lambda: mark(tmp_path / "nas")):
        with pytest.raises(RelayTrouble) as refused:
            act()
        assert refused.value.code == "relay-unreachable"
        assert str(tmp_path / "nas") in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_into_a_folder_without_the_mark(tmp_path: Path) -> None:
    """It may be a mount point with nothing mounted on it."""
    with pytest.raises(RelayTrouble) as refused:
        Files(tmp_path, 1)
    assert refused.value.code == "relay-unreachable"
    assert "peerctl relay check" in refused.value.next_step
    assert list(tmp_path.iterdir()) == []
    mark(tmp_path)
    mark(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == [MARK]
    Files(tmp_path, 1).__exit__(None, None, None)


def test_a_folder_that_is_a_file_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RelayTrouble):
        Files(put(tmp_path / "file", b""), 1)


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o2775])
def test_modes_follow_those_of_the_folder(folder: Path, mode: int) -> None:
    """Whoever may use the folder may use what is in it, whatever umask a service has."""
    folder.chmod(mode)
    before = os.umask(0o077)
    try:
        with Files(folder, MOST_BYTES) as files:
            files.create(NAME, b"data")
    finally:
        os.umask(before)
    assert path_of(folder).parent.stat().st_mode & 0o7777 == mode
    assert path_of(folder).stat().st_mode & 0o777 == 0o600 | mode & 0o666


def test_no_descriptor_is_left_behind(folder: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with Files(folder, MOST_BYTES) as files:
            files.create(NAME, b"data")
            files.replace(NAME, b"more")
            files.read(NAME)
            files.delete(NAME)
            files.sweep()
    with pytest.raises(RelayTrouble):
        Files(folder.parent, 1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_tag_is_of_the_content() -> None:
    assert tag_of(b"one") == tag_of(b"one") != tag_of(b"two")
