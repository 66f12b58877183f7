"""Devices that found spaces and make statements, with signatures that cost nothing."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest

from peerd.core.roster import compose
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import DeviceCard, SignedStatement, decode_statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peerd.core.roster.statements import Final


def _signature(public_key: bytes, data: bytes) -> bytes:
    return blake2b(b"stands for a signature" + public_key + data, digest_size=64).digest()


class Cast:
    """Eight devices, number 0 to 7 in the order of their ids. What one states, `say` brings into a roster."""

    def __init__(self) -> None:
        cards = [DeviceCard(bytes([i]) * 32, bytes([100 + i]) * 32, f"device {i}") for i in range(8)]
        self.cards = sorted(cards, key=lambda card: card.device)
        self.devices = [card.device for card in self.cards]
        self._keys = {card.device: card.public_key for card in self.cards}

    @staticmethod
    def verify(public_key: bytes, signature: bytes, data: bytes) -> bool:
        return signature == _signature(public_key, data)

    def signed(self, data: bytes) -> SignedStatement:
        """Signed by the author that it names."""
        key = self._keys[decode_statement(data).author]
        return compose.signed(data, lambda tagged: _signature(key, tagged))

    def say(self, roster: Roster, data: bytes) -> Roster:
        larger, added = roster.with_statements([self.signed(data)])
        assert added, larger.refused
        return larger

    def founded(self, founder: int = 0, name: str = "home") -> Roster:
        data = compose.found_space(name, self.cards[founder], b"sixteen byte non")
        return self.say(Roster(decode_statement(data).space, self.verify), data)

    def space_of(self, *devices: int) -> Roster:
        """Founded by the first, who admits all others."""
        roster = self.founded(devices[0])
        for one in devices[1:]:
            roster = self.admit(roster, devices[0], one)
        return roster

    def admit(self, roster: Roster, by: int, whom: int, role: str = "admin") -> Roster:
        return self.say(roster, compose.admit(roster, self.devices[by], self.cards[whom], role))

    def remove(self, roster: Roster, by: int, whom: int, finals: Mapping[bytes, Final] | None = None) -> Roster:
        return self.say(roster, compose.remove(roster, self.devices[by], self.devices[whom], finals or {}))

    def members(self, roster: Roster) -> set[int]:
        return {self.devices.index(device) for device in roster.members}

    @staticmethod
    def joined(*rosters: Roster) -> Roster:
        """What everybody knows once all have met."""
        first, *rest = rosters
        for one in rest:
            first, _ = first.with_statements(one.statements)
        assert not first.pending
        assert not first.refused
        return first


@pytest.fixture(scope="session")
def cast() -> Cast:
    return Cast()
