"""A daemon whose database rotted on the disk while it was stopped: found, located, put right, and told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from peerd.core.record_form import decode_record, digest_of, encode_body, encode_stamps
from peerd.core.values import pack
from tests.support.daemons import Device, House, pair

AT_ONCE = "import peerd.engine.repair.scrub_rounds as one; one.EVERY_S = one.ROUND_S = 1.0"
GOOD, BAD = "the value as it was written", "the value as it was wr1tten"
RECORDS = 300


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


def database(device: Device) -> Path:
    (path,) = (device.state_dir / "spaces").glob("*.db")
    return path


def together(house: House, *names: str, trimmed: bool = False) -> list[Device]:
    """Devices with the same records; all but the first are stopped."""
    devices = house.start(*names)
    first, *others = devices
    first.create("home")
    for other in others:
        pair(first, other, "home")
    changes = [
        {"kind": "put", "collection": "notes", "key": f"{number:03}", "value": {"n": number, "text": f"note {number}"}}
        for number in range(RECORDS)
    ]
    first.call("POST", "spaces", "home", "transactions", body={"changes": changes})
    first.put("home", "notes", "it", {"text": GOOD, "n": 1})
    house.agree("home")
    for other in others:
        other.stop()
    if trimmed:
        first.stop()
        for device in devices:
            sql(device, "UPDATE origin SET horizon = seq")
            sql(device, "DELETE FROM run")
        first.start()
    return devices


def sql(device: Device, statement: str, *parameters: Any) -> None:
    with closing(sqlite3.connect(database(device))) as connection, connection:
        assert connection.execute(statement, parameters).rowcount


def body(device: Device, key: str = "it") -> bytes:
    with closing(sqlite3.connect(database(device))) as connection:
        return bytes(connection.execute("SELECT body FROM record WHERE key = ?", (key,)).fetchone()[0])


def flip_on_disk(device: Device) -> None:
    """One byte of the file, in the record and not in its log."""
    path = database(device)
    before, at = body(device), -1
    while True:
        data = path.read_bytes()
        at = data.index(GOOD.encode(), at + 1)
        path.write_bytes(data[:at] + BAD.encode() + data[at + len(BAD) :])
        if body(device) != before:
            return
        path.write_bytes(data)


def lose_row(device: Device) -> None:
    sql(device, "DELETE FROM record WHERE key = 'it'")


def forge(device: Device) -> None:
    """Body and share, as if this had been written."""
    with closing(sqlite3.connect(database(device))) as connection:
        origin_of = dict(connection.execute("SELECT ref, id FROM origin"))
        stamps, old = connection.execute("SELECT stamps, body FROM record WHERE key = 'it'").fetchone()
    rows = msgspec.msgpack.decode(stamps)
    for row in rows:
        row[0] = origin_of[row[0]]
    record = decode_record(rows, old)
    (dot,) = record.fields["text"]
    record.fields["text"][dot] = pack(BAD)
    order, rows = encode_stamps(record.stamps)
    new = encode_body(record.births, record.fields, order)
    _, share = digest_of("notes", "it", rows, new)
    signed = share - (1 << 64) if share >> 63 else share
    sql(device, "UPDATE record SET body = ?, share = ? WHERE key = 'it'", new, signed)


def findings(device: Device) -> list[dict[str, Any]]:
    scrub = device.space("home")["scrub"]
    return [one for one in scrub["findings"] if one["found"] != "diverged"]


DAMAGES: dict[str, Callable[[Device], None]] = {"changed": flip_on_disk, "missing": lose_row, "differs": forge}


def test_a_flipped_byte_is_found_in_time_and_put_right_from_the_log(house: House) -> None:
    """Nobody asks for it, and no other device is there."""
    kitchen, study = together(house, "kitchen", "study")
    kitchen.stop()
    flip_on_disk(study)
    study.meddle = AT_ONCE
    study.start()
    study.wait(lambda: findings(study), "it is found")
    study.wait(lambda: all(one["done"] for one in findings(study)), "it is put right")
    assert study.get("home", "notes", "it") == {"text": GOOD, "n": 1}
    (finding,) = findings(study)
    assert (finding["found"], finding["key"], finding["done"]) == ("changed", "it", "log")
    assert study.events("damage found")
    assert study.events("damage repaired")
    kitchen.start()
    house.agree("home")
    status = study.run("status")
    assert status.returncode == 0
    assert "notes/it is not what was written: put right from the log" in status.stdout


@pytest.mark.parametrize("found", list(DAMAGES))
def test_what_the_log_does_not_have_any_more_comes_from_the_peer(house: House, found: str) -> None:
    kitchen, study = together(house, "kitchen", "study", trimmed=True)
    DAMAGES[found](study)
    study.start()
    view = study.ctl("scrub", "home")
    assert view["found"]
    study.wait(lambda: findings(study) and all(one["done"] for one in findings(study)), "it is put right")
    assert study.get("home", "notes", "it") == {"text": GOOD, "n": 1}
    house.agree("home")
    (finding,) = findings(study)
    assert (finding["found"], finding["key"], finding["done"]) == (found, "it", "peer")
    assert finding["device"] == kitchen.id
    study.wait(lambda: study.space("home")["state"] == "in sync", "all is well again")
    assert study.run("scrub", "home").returncode == 0
    study.stop()
    study.start()
    assert [one["done"] for one in findings(study)] == ["peer"]  # still told
    assert findings(kitchen) == []
    assert not study.conflicts("home")


def test_without_a_peer_it_is_told_and_waits(house: House) -> None:
    kitchen, study = together(house, "kitchen", "study", trimmed=True)
    kitchen.stop()
    flip_on_disk(study)
    study.start()
    done = study.run("scrub", "home")
    assert done.returncode == 4
    assert "notes/it is not what was written" in done.stdout
    space = study.space("home")
    assert (space["state"], space["reason"]) == ("degraded", "1 record in this device's copy is damaged")
    assert study.run("status").returncode == 4
    kitchen.start()
    study.wait(lambda: all(one["done"] for one in findings(study)), "the peer is there")
    assert study.get("home", "notes", "it") == {"text": GOOD, "n": 1}
    house.agree("home")


def test_of_three_the_odd_one_is_put_right(house: House) -> None:
    """Its digest says that it is as it is; the two others agree."""
    kitchen, study, attic = together(house, "kitchen", "study", "attic", trimmed=True)
    forge(attic)
    study.start()
    house.agree("home", [kitchen, study])
    attic.start()
    attic.ctl("scrub", "home")
    attic.wait(lambda: findings(attic) and all(one["done"] for one in findings(attic)), "it is put right")
    export = house.agree("home")
    assert export["notes"]["it"] == {"text": GOOD, "n": 1}
    assert not kitchen.conflicts("home")
    assert findings(kitchen) == findings(study) == []
