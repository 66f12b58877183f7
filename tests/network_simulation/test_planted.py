"""Each planted mistake is noticed by the histories; without it the same history ends well."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import NamedTuple

import pytest

from peerd import logs
from tests.network_simulation.history import ACTIONS, run_history
from tests.network_simulation.mixes import CRASHES, FORKS, MONTHS, RETURNS, Ways
from tests.network_simulation.planted import OF_COPIES, OF_RELAYS


class Search(NamedTuple):
    """Where to begin to look, and what happens more often than usual meanwhile."""

    first: int
    ways: Ways
    more: Mapping[str, float]
    actions: int = ACTIONS
    devices: int | None = None

    def run(self, seed: int) -> None:
        run_history(seed, self.actions, self.devices, ways=self.ways, more=self.more)


LOOK_AT = 200
LONG_AGO = {**FORKS, "days_pass": 4.0, "forget_soon": 3.0}
LATE_SIGHT = {"remove": 10.0, "change_relay_weather": 12.0, "join": 0.0, "wait_long": 0.3, "days_pass": 0.0}
SEARCHES = {
    "origin_kept_after_a_restore": Search(721, "links", RETURNS, devices=2),
    "trimmed_before_acknowledged": Search(704, "links", MONTHS),
    "snapshot_without_covered_dots": Search(713, "links", MONTHS),
    "snapshot_that_names_nothing_owed": Search(1838, "links", {"rot": 30.0, **MONTHS}),
    "acknowledged_before_committed": Search(714, "links", CRASHES),
    "not_written_again": Search(760, "links", FORKS),
    "doubt_taken_for_agreement": Search(5142, "links", LONG_AGO, devices=2),
    "collected_before_acknowledged": Search(512, "relays", {"stop": 3.0}),
    "older_head_taken_for_ours": Search(887, "relays", {"harm_a_relay": 15.0, "wait_long": 0.3, "rot": 0.0}, 30),
    "refused_head_written_at_once": Search(48, "relays", LATE_SIGHT, devices=3),
}


@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_a_planted_mistake_is_noticed(name: str) -> None:
    logs.configure("critical", "json", stream=io.StringIO())
    search = SEARCHES[name]
    for seed in range(search.first, search.first + LOOK_AT):
        try:
            with {**OF_COPIES, **OF_RELAYS}[name]():
                search.run(seed)
        except (TypeError, AttributeError):
            raise  # it was planted in something that has changed
        except Exception:  # noqa: BLE001 - whatever else it raises, it was noticed
            search.run(seed)
            return
    pytest.fail(f"{LOOK_AT} histories did not notice it")


def test_every_planted_mistake_is_looked_for() -> None:
    assert set(SEARCHES) == {*OF_COPIES, *OF_RELAYS}
