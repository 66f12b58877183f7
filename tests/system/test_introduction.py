"""A newcomer whose sponsor is gone for good is let in by the members that have not heard of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd.core.roster.statements import SignedStatement
from peerd.identity import Identity
from peerd.net.dialer import Dialer
from peerd.net.link import INTRODUCE, LinkClosed
from peerd.protocol.pairing.introduction import Shown, introduction
from tests.support.daemons import House, pair, wait_for


def test_a_newcomer_needs_its_sponsor_no_longer(tmp_path: Path) -> None:
    with House(tmp_path) as house:
        kitchen, study, phone = (house.device(name, mdns=False) for name in ("kitchen", "study", "phone"))
        kitchen.start()
        study.start()
        kitchen.create("home")
        pair(kitchen, study, "home")
        kitchen.put("home", "notes", "a", {"by": "kitchen"})
        house.agree("home", [kitchen, study])
        study.stop()
        phone.peers = [study.address]
        phone.start()
        pair(kitchen, phone, "home")
        kitchen.kill()
        study.start()
        phone.put("home", "notes", "b", {"by": "phone"})
        wait_for(lambda: "study" in phone.linked(), "they are linked", house.devices)
        assert set(house.agree("home", [study, phone])["notes"]) == {"a", "b"}


def test_a_stranger_is_heard_and_told_nothing(tmp_path: Path) -> None:
    """The same end whatever it says, in good time, and the daemon goes on."""
    stranger = Identity(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())

    async def say(port: int, *frames: bytes) -> tuple[int, str]:
        link = await Dialer(stranger).dial(("127.0.0.1", port), INTRODUCE, None)
        for frame in frames:
            await link.send(frame)
        with pytest.raises(LinkClosed) as closed:
            await link.receive()
        return closed.value.close_code, closed.value.reason

    with House(tmp_path) as house:
        (kitchen,) = house.start("kitchen", mdns=False)
        kitchen.create("home")
        ids = [bytes.fromhex(kitchen.space("home")["id"]), bytes(16)]
        said = [asyncio.run(say(kitchen.port, *introduction(_shown(one)))) for one in ids]
        assert said == [(1000, "done")] * 2
        assert asyncio.run(say(kitchen.port, b"nonsense"))[0] == 4400
        assert len(kitchen.call("GET", "spaces", "home", "members")["members"]) == 1


def _shown(space: bytes) -> list[Shown]:
    return [Shown(space, (SignedStatement(b"no statement", bytes(64)),))]
