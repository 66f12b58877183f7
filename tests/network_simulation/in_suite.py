"""The thousand histories of the tests, always the same, by kinds; `make simulate` plays others."""

from __future__ import annotations

import io
from collections.abc import Sequence

from peerd import logs
from tests.network_simulation.campaign import Tally, play
from tests.network_simulation.mixes import MIXES

OF_A_HUNDRED = 10  # histories for each that a mix has of a hundred
PART = 10  # many parts: `tests/conftest.py` begins with the files that have the most tests
FIRST = 1

# Histories without crashes, cuts or conflicts would prove little.
HAPPENS = {
    "general": (
        "bulks", "cancelled writers", "conflicts settled", "crashes", "deletes", "edits that won over a delete",
        "full disks", "joins", "large", "links cut", "partitions", "put back", "removals", "stops",
        "refused: disk-full", "refused: precondition-failed", "apart", "with relays", "relay weather", "throttled",
        "relays lost", "relays set back", "objects spoilt", "days passed", "trims", "snapshots taken", "snapshots cut",
        "joins again", "mutual removals", "records rotten", "damage put right",
    ),
    "forks": ("set back", "forked runs", "of a history that fell", "forks healed", "crashes", "trims"),
    "relays": ("relay weather", "throttled", "relays lost", "relays set back", "objects spoilt", "snapshots taken"),
    "rot": ("records rotten", "damage put right"),
    "months": ("days passed", "trims", "snapshots taken", "snapshots cut"),
    "returns": ("put back",),
    "crashes": ("crashes", "writers of a crashed device"),
    "members": ("joins", "joins again", "removals", "mutual removals"),
}  # fmt: skip


def parts(mixes: Sequence[str]) -> list[tuple[str, int]]:
    """(mix, its first seed) of each part of these."""
    return [(mix, first) for mix in mixes for first in range(FIRST, FIRST + MIXES[mix].share * OF_A_HUNDRED, PART)]


def play_part(mix: str, first: int, tally: Tally) -> None:
    logs.configure("critical", "json", stream=io.StringIO(), strict=True)  # a line per link would be most of the work
    for seed in range(first, first + PART):
        told = play(mix, seed)
        tally.add(told)
        assert not told.wrong, f"{told.wrong}\nplay it again with: {told.replay()}"


def check_happened(mixes: Sequence[str], tally: Tally) -> None:
    """All that may happen has happened."""
    for mix in mixes:
        assert tally.played[mix] == MIXES[mix].share * OF_A_HUNDRED, "the tests of a file belong together"
        missing = [event for event in HAPPENS[mix] if not tally.happened_in[mix][event]]
        assert not missing, f"no history of the mix {mix} had any of: {missing}"
