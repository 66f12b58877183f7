"""The scene of every attack: a victim, a friend of it, and a mole whose key the attacker has."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from peerd.errors import PeerdError
from peerd.identity import Identity
from tests.hostile.attacker import Attacker
from tests.hostile.frames import Frames
from tests.support.daemons import House, pair, wait_for

FRAMES_PER_LINK = 25
LET_GO_S = 5.0
# One host is one address here, and an attacker with a thousand addresses is meant.
NO_GATE = (
    "import peerd.net.listener as l; from peerd.net.limits import Limits; "
    "l.Limits = lambda: Limits(per_address=1000, in_all=1000, handshakes_per_s=1e6, links_per_device=1000)"
)


class Scene:
    """Everything stands as it did before: `check` says so after an attack."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.victim, self.friend, self.mole = (
            house.device(name, mdns=False, meddle=NO_GATE, log_level="error") for name in ("victim", "friend", "mole")
        )
        self.victim.peers, self.friend.peers = [self.friend.address], [self.victim.address]
        for device in (self.victim, self.friend, self.mole):
            device.start()
        for space in ("home", "other"):
            self.victim.create(space)
            pair(self.victim, self.friend, space)
            pair(self.victim, self.mole, space)
            for device in (self.victim, self.friend, self.mole):
                device.put(space, "notes", device.name, {"by": device.name})
            house.agree(space)
        self.mole.stop()
        house.devices.remove(self.mole)
        self.identity = Identity.load_or_create(self.mole.state_dir / "identity")
        self.before = self.stand()
        self.rss_mib = self.victim.rss_mib()

    def attacker(self, space: str = "home", identity: Identity | None = None) -> Attacker:
        space_id = bytes.fromhex(self.victim.space(space)["id"])
        return Attacker(identity or self.identity, self.victim.port, space_id)

    def stand(self) -> dict[str, Any]:
        """What must not change."""
        stand: dict[str, Any] = {}
        for space in ("home", "other"):
            view = self.victim.space(space)
            members = self.victim.call("GET", "spaces", space, "members")["members"]
            stand[space] = [
                view["clock"], view["digest"], view["records"], view["conflicts"],
                sorted((one["device"], one["role"], one["state"] == "removed") for one in members),
            ]  # fmt: skip
        return stand

    def grown_mib(self) -> float:
        return self.victim.rss_mib() - self.rss_mib

    def check(self, growth_mib: float) -> None:
        """Nothing changed, nothing grew beyond `growth_mib`, no crash, and the friend is still served."""
        assert self.victim.process is not None
        assert self.victim.process.poll() is None, self.victim.said()
        self.victim.wait(lambda: self.victim.linked() <= {"friend"}, "the attacker's links are gone")
        assert self.stand() == self.before
        # What an attack held is let go with its links, a moment after it.
        until_s = time.monotonic() + LET_GO_S
        while self.grown_mib() >= growth_mib and time.monotonic() < until_s:
            time.sleep(0.2)
        assert self.grown_mib() < growth_mib
        assert "Traceback" not in self.victim.log.read_text(), self.victim.said()
        wait_for(lambda: "friend" in self.victim.linked(), "the friend is linked", self.house.devices)
        for space in ("home", "other"):
            self.house.agree(space)


async def assault(attacker: Attacker, frames: int, seed: int) -> int:
    """Send so many bad frames, some on each of many links; gives how many the victim took before it hung up."""
    chance = random.Random(seed)
    async with attacker.streaming():
        pass
    source = Frames(chance, attacker.frames)
    sent = taken = 0
    while sent < frames:
        sent += FRAMES_PER_LINK
        opening = chance.choice((attacker.dialed, attacker.greeted, attacker.streaming, attacker.streaming))
        try:
            async with opening() as link:
                reader = asyncio.create_task(_drain(link))
                taken += await attacker.send_all(link, [source.next() for _ in range(FRAMES_PER_LINK)])
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
        except PeerdError:
            continue  # it was refused for the moment: another link of ours is just ending
    return taken


async def _drain(link: Any) -> None:
    try:
        while True:
            await link.receive()
    except PeerdError:
        return
