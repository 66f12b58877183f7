"""A port that somebody else has is no fault of the configuration: the next start may find it free."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from peerd.errors import CannotListen, ConfigError
from peerd.net.sockets import open_listening

if TYPE_CHECKING:
    from pathlib import Path


def test_a_busy_port_ends_the_daemon_with_a_code_that_is_tried_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        config = tmp_path / "peerd.toml"
        config.write_text(
            f'[device]\nstate_dir = "{tmp_path / "state"}"\n[control]\nsocket = "{tmp_path / "s"}"\n'
            f'[network]\nlisten = ["127.0.0.1:{busy.getsockname()[1]}"]\nmdns = false\n'
        )
        command = [sys.executable, "-m", "peerd", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "in use" in done.stderr) == (1, True), done.stderr


def test_an_address_of_another_machine_is_told_with_a_next_step() -> None:
    with pytest.raises(CannotListen, match="does not have that address; name one that `ip address` shows"):
        open_listening([("192.0.2.1", 0)])


def test_a_configuration_that_is_wrong_is_told_apart() -> None:
    with pytest.raises(ConfigError) as wrong:
        open_listening([])
    assert not isinstance(wrong.value, CannotListen)
    assert (wrong.value.exit_code, CannotListen.exit_code) == (2, 1)
