"""Started by something that closes the standard streams: all goes on as it would with them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WAIT_S = 60
CLOSED = ["2>&-", ">&-", "<&- >&- 2>&-"]


@contextmanager
def _started(command: list[str], closed: str) -> Iterator[subprocess.Popen[bytes]]:
    """With these redirections of a shell, which is replaced by the command."""
    with subprocess.Popen(["sh", "-c", f'exec "$@" {closed}', "sh", *command], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _ended(command: list[str], closed: str) -> int:
    with _started(command, closed) as process:
        return process.wait(WAIT_S)


def _config(tmp_path: Path, port: int = 0) -> Path:
    config = tmp_path / "peerd.toml"
    config.write_text(
        f'[device]\nstate_dir = "{tmp_path / "state"}"\n[control]\nsocket = "{tmp_path / "s"}"\n'
        f'[network]\nlisten = ["127.0.0.1:{port}"]\nmdns = false\n'
    )
    return config


@pytest.mark.parametrize("closed", CLOSED)
def test_the_daemon_runs_and_no_file_of_its_own_takes_their_place(tmp_path: Path, closed: str) -> None:
    command = [sys.executable, "-m", "peerd", "--config", str(_config(tmp_path))]
    with _started(command, closed) as process:
        until_s = time.monotonic() + WAIT_S
        while not (tmp_path / "s").exists():
            assert process.poll() is None, "it ended without a word"
            assert time.monotonic() < until_s
            time.sleep(0.05)
        leads_to = [str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) for number in (0, 1, 2)]
        missing = [int(one[0]) if one[0] in "012" else "<>".index(one[0]) for one in closed.split()]
        assert {leads_to[number] for number in missing} == {"/dev/null"}
        asked = [sys.executable, "-m", "peerd.cli.main", "--socket", str(tmp_path / "s"), "space", "create", "home"]
        assert _ended(asked, closed) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


def test_a_stdin_that_is_closed_is_empty() -> None:
    """Not a fault of the daemon's answer."""
    put = [sys.executable, "-m", "peerd.cli.main", "--socket", "/nowhere/s", "put", "home", "todo", "milk"]
    assert _ended(put, "<&-") == _ended(put, "</dev/null") == 2


@pytest.mark.parametrize("closed", CLOSED)
def test_what_is_wrong_is_told_by_the_exit_status(tmp_path: Path, closed: str) -> None:
    config = _config(tmp_path)
    command = [sys.executable, "-m", "peerd", "--config", str(config)]
    config.write_text("[network]\nport = 1\n")
    assert _ended(command, closed) == 2
    with socket.create_server(("127.0.0.1", 0)) as busy:
        _config(tmp_path, busy.getsockname()[1])
        assert _ended(command, closed) == 1
    assert _ended([sys.executable, "-m", "peerd.cli.main", "--socket", "/nowhere/s", "status"], closed) == 3
