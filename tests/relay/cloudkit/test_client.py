"""Requests over real sockets: signed with the service's time, one at a time, held back by the gate, never a crash."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from peerd.errors import RelayTrouble
from peerd.relay.cloudkit import requests
from peerd.relay.cloudkit.client import Client, Place, TooMuch
from peerd.relay.cloudkit.gate import Gate
from peerd.relay.cloudkit.keyfile import read_key
from tests.relay.cloudkit.conftest import Device, Times
from tests.relay.emulator.server import CONTAINER, Emulator

NewDevice = Callable[..., Device]
LOOKUP = requests.lookup_body(["k1"], contents=False)


async def ask(device: Device) -> bytes:
    return await device.client.call("records/lookup", LOOKUP)


def put_key(file: Path, pem: bytes) -> None:
    file.write_bytes(pem)


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines()


async def trouble_of(device: Device) -> RelayTrouble:
    with pytest.raises(RelayTrouble) as caught:
        await ask(device)
    return caught.value


async def test_a_request_is_signed_and_answered(device: NewDevice, emulator: Emulator) -> None:
    assert json.loads(await ask(device()))["records"][0]["serverErrorCode"] == "NOT_FOUND"
    assert emulator.seen[0].body == LOOKUP


# --- the clock ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead_s", [-86_400.0, 3600.0])
async def test_a_wrong_clock_is_corrected_by_the_services_own(
    device: NewDevice, emulator: Emulator, times: Times, ahead_s: float
) -> None:
    times.ahead_s = ahead_s
    one = device()
    await ask(one)
    assert [seen.status for seen in emulator.seen] == [401, 200]
    await ask(one)
    assert [seen.status for seen in emulator.seen[2:]] == [200]
    assert one.client.ahead_ms == -int(ahead_s * 1000)


async def test_a_clock_that_is_set_meanwhile_is_noticed(device: NewDevice, emulator: Emulator, times: Times) -> None:
    times.ahead_s = 3600.0
    one = device()
    await ask(one)
    times.ahead_s = 0.0
    await ask(one)
    assert [seen.status for seen in emulator.seen] == [401, 200, 401, 200]


async def test_a_signature_that_is_refused_twice_is_for_a_person(
    device: NewDevice, emulator: Emulator, times: Times
) -> None:
    one = device()
    emulator.keys.clear()
    told = await trouble_of(one)
    assert (told.code, told.lasting, told.retry_s) == ("relay-denied", True, None)
    assert "key_id" in told.next_step
    assert len(emulator.seen) == 2
    times.ahead_s = 7200.0
    told = await trouble_of(one)
    assert (told.code, told.lasting) == ("relay-clock", True)
    assert "2 hours off" in str(told)


async def test_a_key_that_is_put_right_needs_no_restart(device: NewDevice, key_file: Path, emulator: Emulator) -> None:
    os.chmod(key_file, 0o644)  # noqa: PTH101 - in a test nobody waits
    one = device()
    assert (await trouble_of(one)).code == "relay-misconfigured"
    assert emulator.seen == []
    os.chmod(key_file, 0o600)  # noqa: PTH101 - the same
    await ask(one)
    put_key(key_file, emulator.new_key()[1])  # of another key id
    emulator.faults.add("auth", times=2)
    await trouble_of(one)  # and so the file is read again
    assert (await trouble_of(one)).code == "relay-denied"
    _, pem = emulator.new_key()
    emulator.keys[one.client.place.key_id] = emulator.keys.popitem()[1]
    put_key(key_file, pem)
    await ask(one)


async def test_nothing_that_is_said_or_logged_shows_the_key(
    device: NewDevice, emulator: Emulator, key_file: Path, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    one = device()
    emulator.faults.add("auth", times=2)
    told = await trouble_of(one)
    text = f"{told!r} {told.next_step} {log_events()} {one.client!r} {vars(one.client)!r}"
    assert not [line for line in lines_of(key_file) if line in text]


# --- the gate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["throttle", "throttle503"])
async def test_a_throttle_holds_everything_back_and_over_a_restart(
    device: NewDevice, emulator: Emulator, times: Times, fault: str
) -> None:
    emulator.faults.add(fault, retry_after=110_207)
    one = device()
    told = await trouble_of(one)
    assert (told.code, told.retry_s, told.lasting) == ("relay-throttled", 110_207, False)
    times.now_s += 100_000
    for held in (one, device()):  # the same folder: a restart
        told = await trouble_of(held)
        assert told.code == "relay-throttled"
        assert told.retry_s == pytest.approx(10_207)
        assert "3 hours" in str(told)
    assert len(emulator.seen) == 1
    times.now_s += 10_208
    await ask(device())
    assert emulator.early == 0


async def test_an_illness_is_waited_out_longer_and_longer(device: NewDevice, emulator: Emulator, times: Times) -> None:
    emulator.faults.add("internal", times=3)
    one = device()
    waits = []
    for _ in range(3):
        waits.append((await trouble_of(one)).retry_s)
        assert (await trouble_of(one)).code == "relay-throttled"  # held back
        times.now_s += waits[-1] or 0
    assert waits == [2, 4, 8]
    assert len(emulator.seen) == 3
    await ask(one)


async def test_a_network_that_is_gone_closes_nothing(device: NewDevice, emulator: Emulator) -> None:
    """Whoever asks again at once, since the network is back, gets an answer."""
    one = device()
    emulator.faults.add("drop", times=1)
    told = await trouble_of(one)
    assert (told.code, told.retry_s, told.lasting) == ("relay-unreachable", None, False)
    await ask(one)


async def test_one_request_at_a_time(device: NewDevice, emulator: Emulator) -> None:
    emulator.latency_s = 0.01
    one = device()
    await asyncio.gather(*(ask(one) for _ in range(5)))
    assert emulator.in_flight_most == 1


# --- answers that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("html", "relay-failed"),
        ("redirect", "relay-misconfigured"),
        ("huge", "relay-failed"),
        ("truncated", "relay-unreachable"),
        ("lose", "relay-unreachable"),
        ("drop", "relay-unreachable"),
        ("denied", "relay-denied"),
        ("quota", "relay-full"),
        ("toolarge", "relay-misconfigured"),
        ("later", "relay-throttled"),
        ("unknown", "relay-failed"),
    ],
)
async def test_whatever_happens_is_a_trouble_with_its_code(
    device: NewDevice, emulator: Emulator, fault: str, code: str
) -> None:
    emulator.faults.add(fault)
    told = await trouble_of(device())
    assert told.code == code
    assert told.next_step


async def test_what_may_have_been_too_large_is_told_apart(device: NewDevice, emulator: Emulator) -> None:
    one = device()
    for fault in ("quota", "toolarge", "huge"):
        emulator.faults.add(fault)
        assert isinstance(await trouble_of(one), TooMuch)
    for fault in ("denied", "unknown"):
        emulator.faults.add(fault)
        assert not isinstance(await trouble_of(one), TooMuch)


async def test_an_answer_that_takes_too_long(device: NewDevice, emulator: Emulator) -> None:
    emulator.faults.add("slow", seconds=0.5)
    told = await trouble_of(device(timeout_s=0.05))
    assert told.code == "relay-unreachable"
    assert "no answer in time" in str(told)


@asynccontextmanager
async def saying(said: bytes, tmp_path: Path, key_file: Path, times: Times) -> AsyncIterator[Client]:
    """A client of something that says that to everybody and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    place = Place(CONTAINER, "production", "0" * 64, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    client = Client(place, lambda: read_key(key_file, {}), Gate(tmp_path / "g", times), times, timeout_s=5)
    try:
        yield client
    finally:
        await client.close()
        server.close()
        await server.wait_closed()


def hostile(chance: random.Random) -> bytes:
    """Something that begins as HTTP does, or not."""
    head = chance.choice([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 %d X\r\n" % chance.randrange(1000), b"SSH-2.0\r\n", b""])
    fields = [
        b"Content-Length: %d\r\n" % chance.choice([0, 5, -1, 1 << 40]),
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Date: %s\r\n" % bytes(chance.choices(range(32, 256), k=20)),
        b"Date: " + formatdate(chance.uniform(0, 1e11), usegmt=True).encode() + b"\r\n",
        b"Retry-After: %d\r\n" % chance.randrange(1 << 40),
        b"Set-Cookie: a=b\r\n",
        b"Location: http://127.0.0.1:9/\r\n",
        b"X: " + b"y" * chance.choice([1, 10_000]) + b"\r\n",
    ]
    body = chance.choice(
        [b"{}", b"[", b"{" * 5000, b'{"records":[{}]}', b"ffffffff\r\n", chance.randbytes(50), b"<html>"]
    )
    return head + b"".join(chance.sample(fields, k=chance.randrange(5))) + chance.choice([b"\r\n", b""]) + body


@pytest.mark.parametrize("seed", range(60))
async def test_hostile_answers_are_troubles(seed: int, tmp_path: Path, key_file: Path, times: Times) -> None:
    async with saying(hostile(random.Random(seed)), tmp_path, key_file, times) as client:
        try:
            await client.call("records/lookup", LOOKUP)
        except RelayTrouble:
            pass
        else:
            return  # something like JSON came, and the store judges it


async def test_an_answer_without_end_is_cut(tmp_path: Path, key_file: Path, times: Times) -> None:
    said = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (12 << 20)
    async with saying(said, tmp_path, key_file, times) as client:
        with pytest.raises(TooMuch, match="larger than"):
            await client.call("records/lookup", LOOKUP)


async def test_nobody_listens(device: NewDevice, emulator: Emulator) -> None:
    one = device()
    await emulator.stop()
    assert (await trouble_of(one)).code == "relay-unreachable"


async def test_a_name_that_does_not_resolve(
    device: NewDevice, tmp_path: Path, times: Times, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    place = Place(CONTAINER, "production", "0" * 64, "https://api.apple-cloudkit.invalid")
    client = Client(place, lambda: read_key(key_file, {}), Gate(tmp_path / "g", times), times)
    with pytest.raises(RelayTrouble, match=r"api.apple-cloudkit.invalid cannot be reached") as caught:
        await client.call("records/lookup", LOOKUP)
    assert caught.value.code == "relay-unreachable"
    await client.close()


@pytest.mark.parametrize(
    "url", ["ftp://h/x", "http://", "http://h/a b", "http://h/\r\nX: y", "http://h/ä", "//h", "", "http://[::"]
)
async def test_the_address_of_an_asset_is_not_believed(device: NewDevice, url: str) -> None:
    with pytest.raises(RelayTrouble):
        await device().client.fetch("GET", url, b"", 100)


async def test_the_second_host_is_left_alone_as_well(device: NewDevice, emulator: Emulator) -> None:
    one = device()
    one.gate.asked(100.0, "THROTTLED")
    with pytest.raises(RelayTrouble, match="left alone for another 100 s"):
        await one.client.fetch("POST", f"{emulator.assets.base_url}/upload/x", b"x", 100)
    assert emulator.seen == []


async def test_an_asset_is_behind_https_where_the_service_is(key_file: Path, tmp_path: Path, times: Times) -> None:
    place = Place(CONTAINER, "production", "0" * 64, "https://api.apple-cloudkit.invalid")
    client = Client(place, lambda: read_key(key_file, {}), Gate(tmp_path / "g", times), times)
    with pytest.raises(RelayTrouble, match="not speak as CloudKit"):
        await client.fetch("GET", "http://127.0.0.1:9/", b"", 100)
    await client.close()


async def test_a_client_may_be_closed_twice_and_used_again(device: NewDevice) -> None:
    one = device()
    await ask(one)
    await one.client.close()
    await one.client.close()
    await ask(one)
