"""Two devices that pair over a wire that can be cut, recorded and changed."""

from __future__ import annotations

from hashlib import shake_256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from peerd.core import compose, epochs
from peerd.core.roster import Roster
from peerd.core.statements import DeviceCard, decode_statement
from peerd.protocol import pairing
from peerd.protocol.pairing_inviter import Inviter
from peerd.protocol.pairing_joiner import Joiner
from peerd.protocol.pairing_messages import GrantBody
from peerd.protocol.pairing_window import InvitationWindow

if TYPE_CHECKING:
    from collections.abc import Callable

CODE = "48219073"


def verify(public_key: bytes, signature: bytes, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except InvalidSignature:
        return False
    return True


class Device:
    """A key pair made from a name, and chance that is the same in every run."""

    def __init__(self, name: str) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(shake_256(name.encode()).digest(32))
        self.card = DeviceCard(
            self.key.public_key().public_bytes_raw(), shake_256(b"x" + name.encode()).digest(32), name
        )
        self.id = self.card.device
        self._name = name
        self._drawn = 0

    def entropy(self, count: int) -> bytes:
        self._drawn += 1
        return shake_256(f"{self._name} {self._drawn}".encode()).digest(count)

    def say(self, roster: Roster, data: bytes) -> Roster:
        larger, added = roster.with_statements([compose.signed(data, self.key.sign)])
        assert added, larger.refused
        return larger

    def founded(self, name: str = "home") -> Roster:
        data = compose.found_space(name, self.card, self.entropy(16))
        return self.say(Roster(decode_statement(data).space, verify), data)


class Meeting:
    """An inviter and a joiner on one link. `run` delivers frames until nobody says anything more; what the machines
    want from the engine is done here, durably and at once.
    """

    def __init__(self, **changed: Any) -> None:
        self.inviting, self.joining = Device("desk"), Device("laptop")
        self.now_s = 1000.0
        self.roster = self.inviting.founded()
        self.window: InvitationWindow | None = InvitationWindow(CODE, self.now_s)
        self.effects: dict[str, list[pairing.Effect]] = {"inviter": [], "joiner": []}
        self.frames: dict[str, list[bytes]] = {"inviter": [], "joiner": []}
        self.answer = True  # of the persons
        self.joined: Roster | None = None
        self.inviter = self.new_inviter(**changed.get("inviter", {}))
        self.joiner = self.new_joiner(**changed.get("joiner", {}))

    def new_inviter(self, **changed: Any) -> Inviter:
        wanted: dict[str, Any] = {
            "ours": self.inviting.id,
            "name": "desk",
            "theirs": self.joining.id,
            "window": self.window,
            "named": False,
            "ask": False,
            "entropy": self.inviting.entropy,
            "now_s": self.now_s,
        }
        return Inviter(**{**wanted, **changed})

    def new_joiner(self, **changed: Any) -> Joiner:
        wanted: dict[str, Any] = {
            "card": self.joining.card,
            "theirs": self.inviting.id,
            "code": CODE,
            "entropy": self.joining.entropy,
            "verify": verify,
            "now_s": self.now_s,
        }
        return Joiner(**{**wanted, **changed})

    def run(self, change: Callable[[str, bytes], list[bytes]] | None = None) -> None:
        """`change(sender, frame)` gives the frames that arrive in the place of one that was sent."""
        wire = self._do("joiner", self.joiner.start(self.now_s))
        while wire:
            sender, frame = wire.pop(0)
            for arriving in [frame] if change is None else change(sender, frame):
                if sender == "joiner":
                    wire += self._do("inviter", self.inviter.receive(arriving, self.now_s))
                else:
                    wire += self._do("joiner", self.joiner.receive(arriving, self.now_s))

    def failure(self, who: str) -> pairing.Failed:
        (found,) = [one for one in self.effects[who] if isinstance(one, pairing.Failed)]
        return found

    def finished(self, who: str) -> bool:
        return any(isinstance(one, pairing.Finished) for one in self.effects[who])

    def _do(self, who: str, effects: list[pairing.Effect]) -> list[tuple[str, bytes]]:
        sent: list[tuple[str, bytes]] = []
        for effect in effects:
            self.effects[who].append(effect)
            match effect:
                case pairing.Send(frame=frame):
                    self.frames[who].append(frame)
                    sent.append((who, frame))
                case pairing.AskPerson():
                    machine = self.inviter if who == "inviter" else self.joiner
                    sent += self._do(who, machine.confirmed(self.answer, self.now_s))
                case pairing.Admit(card=card):
                    sent += self._do(who, self._admit(card))
                case pairing.Store(grant=grant):
                    self.joined, _ = Roster(grant.space, verify).with_statements(grant.statements)
                    sent += self._do(who, self.joiner.stored(self.now_s))
        return sent

    def _admit(self, card: DeviceCard) -> list[pairing.Effect]:
        wraps = {one.id: b"sealed" for one in epochs.epochs(self.roster)}
        data = compose.admit(self.roster, self.inviting.id, card, wraps=wraps)
        self.roster = self.inviting.say(self.roster, data)
        grant = GrantBody(self.roster.space, self.roster.name, self.roster.statements)
        return self.inviter.granted(grant, self.now_s)


@pytest.fixture(scope="session")
def meeting() -> type[Meeting]:
    return Meeting


@pytest.fixture(scope="session")
def device() -> type[Device]:
    return Device
