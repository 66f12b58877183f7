"""What `peerctl relay check` says of a container in good order, and with each thing wrong that people get wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from peerd.relay.cloudkit.probe import Finding
from tests.relay.cloudkit.conftest import Device, Times
from tests.relay.emulator.database import FieldType
from tests.relay.emulator.server import Emulator

NewDevice = Callable[..., Device]
ALL = ["key", "clock", "create", "read", "write", "assets", "listing", "delete"]


async def check(device: NewDevice) -> dict[str, Finding]:
    return {finding.what: finding for finding in await device().store.check(os.urandom(32).hex())}


async def test_a_container_in_good_order_passes_and_is_left_empty(device: NewDevice, emulator: Emulator) -> None:
    found = await check(device)
    assert list(found) == ALL
    assert all(finding.ok and not finding.next_step for finding in found.values())
    assert emulator.database().records == {}
    assert emulator.database().assets == {}


async def test_a_key_that_is_not_known(device: NewDevice, emulator: Emulator) -> None:
    emulator.keys.clear()
    found = await check(device)
    assert list(found) == ["key"]
    assert "key_id" in found["key"].next_step
    assert len(emulator.seen) == 2  # nothing was tried with it


async def test_a_key_file_that_others_can_read(device: NewDevice, key_file: Path) -> None:
    os.chmod(key_file, 0o644)  # noqa: PTH101 - in a test nobody waits
    found = await check(device)
    assert not found["key"].ok
    assert "chmod 600" in found["key"].next_step


async def test_a_clock_that_is_wrong_is_told_and_nothing_fails(device: NewDevice, times: Times) -> None:
    times.ahead_s = 1200.0
    found = await check(device)
    assert [finding.what for finding in found.values() if not finding.ok] == ["clock"]
    assert "1200 s ahead" in found["clock"].sentence
    assert "timedatectl" in found["clock"].next_step


async def test_a_schema_without_type_or_fields(device: NewDevice, emulator: Emulator) -> None:
    schema = emulator.database().schema
    del schema["Blob"].fields["a"]
    found = await check(device)
    assert [finding.what for finding in found.values() if not finding.ok] == ["assets"]
    schema.clear()
    found = await check(device)
    assert list(found) == ["key", "clock", "create"]
    assert "Did not find record type: Blob" in found["create"].sentence


async def test_rights_that_are_missing(device: NewDevice, emulator: Emulator) -> None:
    grants = emulator.database().schema["Blob"].grants
    grants["_creator"] = frozenset({"CREATE", "WRITE"})
    found = await check(device)
    assert not found["read"].ok
    assert "READ operation not permitted" in found["read"].sentence
    assert emulator.database().records == {}
    grants["_creator"] = frozenset({"CREATE", "READ"})
    found = await check(device)
    assert not found["write"].ok
    assert not found["delete"].ok


async def test_records_that_can_be_listed(device: NewDevice, emulator: Emulator) -> None:
    kind = emulator.database().schema["Blob"]
    kind.system_indexes = frozenset({"recordName"})
    kind.fields["s"] = FieldType("STRING", queryable=True)
    kind.grants["_world"] = frozenset({"READ"})
    found = await check(device)
    assert not found["listing"].ok
    assert "index" in found["listing"].next_step


async def test_a_probe_whose_answer_was_lost_is_cleaned_up(device: NewDevice, emulator: Emulator) -> None:
    emulator.faults.add("lose", "records/modify")
    found = await check(device)
    assert not found["create"].ok
    assert emulator.database().records == {}


async def test_a_service_that_wants_quiet_is_not_asked(device: NewDevice, emulator: Emulator) -> None:
    emulator.faults.add("throttle", retry_after=50_000)
    await check(device)
    found = await check(device)
    assert list(found) == ["key"]
    assert "14 hours" in found["key"].sentence
    assert len(emulator.seen) == 1
