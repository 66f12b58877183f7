"""Kinds of histories: what happens in them more often than usual, and how devices hear of each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

Ways: TypeAlias = Literal["links", "both", "relays"]

# Who was set back, and who went over to another history, knows little of who was removed, and what was put back.
FORKS = {"set_back": 8.0, "back_up": 4.0, "put_back": 0.0, "remove": 0.0, "remove_each_other": 0.0, "rot": 0.0}
RETURNS = {"back_up": 8.0, "put_back": 8.0}
CRASHES = {"crash": 4.0, "crash_and_start": 4.0, "start": 2.0}
MONTHS = {"days_pass": 4.0, "forget_soon": 3.0, "stop": 2.0, "part": 2.0, "cut_a_snapshot": 3.0}
MEMBERS = {"remove": 6.0, "remove_each_other": 4.0, "join": 5.0}


STRIDE = 37  # and 100 have no common factor, so that few histories in a row have something of nearly every mix


class Mix(NamedTuple):
    """`share`: of a hundred histories. `ways`: drawn from the seed if it is None."""

    share: int
    ways: Ways | None = None
    more: Mapping[str, float] = {}


MIXES = {
    "general": Mix(40),
    "forks": Mix(20, "links", FORKS),
    "relays": Mix(10, "relays"),
    "rot": Mix(8, "links", {"rot": 10.0}),
    "months": Mix(8, None, MONTHS),
    "returns": Mix(5, "links", RETURNS),
    "crashes": Mix(5, None, CRASHES),
    "members": Mix(4, None, MEMBERS),
}


def in_turn(seed: int, runs: int, mix: str = "") -> Iterator[tuple[str, int]]:
    """(mix, seed) of so many histories from this seed on, all mixes by their shares unless one is named."""
    names = [mix] if mix else [name for name, one in MIXES.items() for _ in range(one.share)]
    for number in range(seed, seed + runs):
        yield names[number * STRIDE % len(names)], number
