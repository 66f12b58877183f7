"""Who may not come in: told so plainly, with exit code 6, and no wiser than before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd.identity import Identity
from peerd.net.dialer import Dialer, DialFailed
from peerd.net.link import PAIR, SYNC
from peerd.net.tls import client_context
from tests.support.daemons import PATIENCE_S, Device, House, invited, pair

REQUEST = (
    "GET / HTTP/1.1\r\nHost: peerd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house")) as house:
        kitchen, study = house.start("kitchen", "study", mdns=False)
        house.start("stranger", mdns=False)
        kitchen.create("secret-space")
        pair(kitchen, study, "secret-space")
        kitchen.put("secret-space", "notes", "a", {"x": 1})
        yield house


@pytest.fixture
def kitchen(house: House) -> Device:
    return house.devices[0]


@pytest.fixture
def stranger(house: House) -> Device:
    return house.devices[2]


@pytest.fixture(autouse=True)
def unmoved(house: House) -> Iterator[None]:
    """Whatever was tried, the members are the same, their data is, and nothing stayed with the stranger."""
    kitchen, study, stranger = house.devices
    before = house.agree("secret-space", [kitchen, study])
    yield
    assert house.agree("secret-space", [kitchen, study]) == before
    members = kitchen.call("GET", "spaces", "secret-space", "members")["members"]
    assert {one["name"] for one in members} == {"kitchen", "study"}
    assert stranger.spaces() == set()
    assert not list((stranger.state_dir / "spaces").iterdir())


def wrong(code: str) -> str:
    """Another code of eight digits."""
    return "".join("1" if digit == "2" else "2" for digit in code)


def attempt(joiner: Device, inviter: Device, code: str) -> subprocess.CompletedProcess[str]:
    return joiner.run("join", code, "--yes", "--host", inviter.address)


@contextlib.contextmanager
def inviting(device: Device, space: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`peerctl invite --yes`, running, and the code that it showed."""
    command = [sys.executable, "-m", "peerd.cli.main", "--socket", str(device.socket), "invite", space, "--yes"]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as running:
        try:
            assert running.stdout is not None
            yield running, json.loads(running.stdout.readline())["code"]
        finally:
            running.kill()


def refused(running: subprocess.Popen[str]) -> dict[str, Any]:
    """The error with which `peerctl --json` ended."""
    assert running.stdout is not None
    error: dict[str, Any] = json.loads(running.stdout.read().splitlines()[-1])["error"]
    assert error["next_step"]
    return error


def test_the_third_wrong_code_ends_the_invitation(kitchen: Device, stranger: Device) -> None:
    """Two wrong codes are told as such; with the third the invitation is over on both sides, for the right one too."""
    with inviting(kitchen, "secret-space") as (invite, code):
        for _ in range(2):
            done = attempt(stranger, kitchen, wrong(code))
            assert done.returncode == 6
            assert "not the code" in done.stderr
        third = attempt(stranger, kitchen, wrong(code))
        assert third.returncode == 6
        assert "three" in third.stderr
        assert invite.wait(PATIENCE_S) == 6
        assert refused(invite)["code"] == "too-many-tries"
        late = attempt(stranger, kitchen, code)
        assert late.returncode == 6
        assert late.stderr.strip()
    assert code not in kitchen.log.read_text() + stranger.log.read_text()


def test_a_code_that_was_used_lets_nobody_else_in(house: House, kitchen: Device, stranger: Device) -> None:
    """One code, one device."""
    study = house.devices[1]
    kitchen.create("once")
    with invited(kitchen, "once") as invitation:
        assert attempt(study, kitchen, invitation.code).returncode == 0
        invitation.until("admitted")
        code = invitation.code
    assert attempt(stranger, kitchen, code).returncode == 6


def test_an_expired_code(house: House, stranger: Device) -> None:
    """After its time the code is refused on both sides. Here the time is a second; the window is real otherwise."""
    (hasty,) = house.start("hasty", mdns=False, meddle="from peerd.protocol.pairing import window as w; w.SECONDS = 1")
    hasty.create("brief")
    with inviting(hasty, "brief") as (invite, code):
        assert invite.wait(PATIENCE_S) == 6
        assert refused(invite)["code"] == "expired"
        done = attempt(stranger, hasty, code)
    assert done.returncode == 6
    assert done.stderr.strip()
    hasty.stop()
    house.devices.remove(hasty)


def test_no_invitation_open(kitchen: Device, stranger: Device) -> None:
    """A code for nothing: the sentence says what to do on the other side."""
    done = attempt(stranger, kitchen, "12345678")
    assert done.returncode == 6
    assert "invit" in done.stderr


def test_a_device_that_was_not_named(house: House, kitchen: Device, stranger: Device) -> None:
    """`admit` lets in the device it names: another one that names us is refused."""
    study = house.devices[1]
    kitchen.create("named")
    kitchen.ctl("admit", "named", study.id)
    done = stranger.run("join", "--from", kitchen.id, "--host", kitchen.address, "--yes")
    assert done.returncode == 6
    impostor = study.run("join", "--from", stranger.id, "--host", kitchen.address, "--yes")
    assert impostor.returncode == 6, "kitchen answered where the stranger was expected"
    assert study.ctl("join", "--from", kitchen.id, "--host", kitchen.address, "--yes")["space"] == "named"


@pytest.mark.parametrize("subprotocol", [SYNC, PAIR])
def test_a_strangers_certificate(kitchen: Device, subprotocol: str) -> None:
    """Any key proves who it is; one that nobody admitted gets a 403, and nothing else."""
    unknown = Identity(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())

    async def dial() -> DialFailed:
        with pytest.raises(DialFailed) as refused:
            await Dialer(unknown).dial(("127.0.0.1", kitchen.port), subprotocol, None)
        return refused.value

    assert asyncio.run(dial()).code == "unknown-device"
    answer = asyncio.run(_answer(kitchen, client_context(unknown), subprotocol))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert not [word for word in (b"kitchen", b"secret", b"study", b"0.1") if word in answer]


def test_no_certificate(kitchen: Device) -> None:
    """Without a certificate there is no HTTP, let alone an answer in it."""
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLError, ConnectionError):  # which of them is a matter of timing
        assert asyncio.run(_answer(kitchen, bare, SYNC)) == b""


async def _answer(device: Device, context: ssl.SSLContext, subprotocol: str) -> bytes:
    """All that it says to a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", device.port, ssl=context, server_hostname="")
    try:
        writer.write(REQUEST.format(subprotocol=subprotocol).encode())
        said = b""
        while piece := await reader.read(4096):
            said += piece
        return said
    finally:
        writer.transport.abort()
