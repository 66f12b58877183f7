"""Every way in which an object of a relay can be of no use has a code, and the code says which."""

from __future__ import annotations

import pytest

from peerd.cli.codes import TEXTS
from peerd.errors import RemoteProtocolError
from peerd.protocol.relay import damage as relay_damage
from peerd.protocol.relay.courier_steps import Damage
from peerd.protocol.relay.damage import damage_of


@pytest.mark.parametrize(
    ("code", "damage"),
    [
        (relay_damage.UNREADABLE, Damage.UNREADABLE),
        (relay_damage.UNKNOWN_KEY, Damage.UNKNOWN_KEY),
        (relay_damage.FORGED, Damage.FORGED),
        ("malformed", Damage.MALFORMED),
        ("anything else", Damage.MALFORMED),
    ],
)
def test_a_code_says_what_is_wrong(code: str, damage: Damage) -> None:
    assert damage_of(RemoteProtocolError("", code=code)) is damage


def test_the_codes_are_explained() -> None:
    assert {relay_damage.UNREADABLE, relay_damage.UNKNOWN_KEY, relay_damage.FORGED} <= TEXTS.keys()
