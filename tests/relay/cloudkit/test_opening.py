from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peerd.clock import Clock
from peerd.engine.relay.ports import RelayStore
from peerd.errors import RelayTrouble
from peerd.relay.cloudkit.client import Place
from peerd.relay.cloudkit.opening import gate_file, open_cloudkit
from tests.relay.cloudkit.backend import emulated

PLACE = Place("iCloud.example.peerd", "production", "0" * 64)


async def test_what_is_opened_is_a_relay_store(tmp_path: Path) -> None:
    async with emulated(tmp_path) as open_one:
        store: RelayStore = open_one()
        assert await store.create({"k1": b"x"}) == []
        assert store.object_bytes == 512 << 10
        await store.close()


async def test_opening_touches_nothing_and_a_bad_key_is_told_by_the_first_operation(tmp_path: Path) -> None:
    store = open_cloudkit(PLACE, tmp_path / "none.pem", tmp_path, Clock())
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - in a test nobody waits
    with pytest.raises(RelayTrouble) as caught:
        await store.lookup(["k1"], contents=False)
    assert (caught.value.code, caught.value.lasting) == ("relay-misconfigured", True)
    await store.close()


def test_a_gate_is_of_a_container(tmp_path: Path) -> None:
    one = gate_file(tmp_path, PLACE)
    assert one.parent == tmp_path
    assert gate_file(tmp_path, PLACE._replace(key_id="1" * 64)) == one
    assert gate_file(tmp_path, PLACE._replace(container="iCloud.other")) != one


def test_the_private_key_is_in_no_list_of_processes(tmp_path: Path) -> None:
    """The command for tries by hand takes and prints where it is, not what it is."""
    command = [sys.executable, "-m", "tests.relay.emulator", "--port", "0", "--key-file", str(tmp_path / "k.pem")]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=dict(os.environ)) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(5)]
        process.terminate()
        process.stdout.read()
    assert printed[0] == "[relay.cloudkit]\n"
    assert printed[3] == f'key_file = "{tmp_path}/k.pem"\n'
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
