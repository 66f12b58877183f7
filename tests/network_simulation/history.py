"""Run one history."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from peerd.core import limits
from peerd.core.snapshots import choice as snapshot_choice
from peerd.core.snapshots import parts as snapshot
from peerd.engine.links import inbound, switchboard, turns
from peerd.engine.repair import damage
from peerd.engine.snapshots import making as snapshot_making
from peerd.engine.upkeep import small_steps
from peerd.protocol import inflow, outflow, wanting
from peerd.store import founding, snapshot_reading, snapshots, switching, trimming
from tests.network_simulation import programs
from tests.network_simulation.checks import check
from tests.network_simulation.disk import build_from_template, scratch
from tests.network_simulation.joining import found
from tests.network_simulation.mixes import Ways
from tests.network_simulation.settling import settle
from tests.network_simulation.virtual_loop import run
from tests.network_simulation.world import World

ACTIONS = 45
# A device looks for garbage after each link; here that would be what all devices and tests left, and half of the time.
NO_COLLECTING = SimpleNamespace(collect=lambda: 0)
RELAYED, APART = 0.35, 0.17  # share of histories with relays, and of those without any link

EVERYWHERE = "damage is everywhere"
FEW_ENDS = 0.5  # share of those in which little is kept of a log that has gone, so that much is in doubt

RELAYED_WAYS = ("both", "relays")

SMALL = (
    (limits, "RUN_BYTES", 4_000),
    (turns, "FAR_BEHIND", 30),
    (wanting, "NEARLY", 5),
    (inbound, "COMMIT_BYTES", 4_000),
    (outflow, "EXPRESS_LAG", 4),
    (outflow, "EXPRESS_BYTES", 1_000),
    (outflow, "EXPRESS_RESERVE_BYTES", 2_000),
    (outflow, "BULK_BYTES", 4_000),
    (outflow, "WHOLE_RUN_BYTES", 6_000),
    (outflow, "PART_BYTES", 3_000),
    (wanting, "CREDIT_BYTES", 12_000),
    (inflow, "CREDIT_BYTES", 12_000),
    (inflow, "FRAME_BYTES", 8_000),
    (snapshot, "PART_BYTES", 4_000),
    (snapshot, "_PIECE_BYTES", 3_500),
    (snapshot, "_FILL_BYTES", 3_000),
    (snapshot_choice, "LEAST_LOG_BYTES", 10_000),
    (snapshot_reading, "LEAST_LOG_BYTES", 10_000),
    (snapshot_making, "READ_BYTES", 2_500),
    (snapshot_making, "KEPT_PARTS", 2),
    (snapshots, "FEW_TOUCHED", 3),
    (switching, "ROWS_AT_ONCE", 5),
    (switching, "IDS_AT_ONCE", 7),
    (switching, "RUNS_AT_ONCE", 3),
    (small_steps, "FIRST_SIZE", 20),
    (small_steps, "MAX_SIZE", 20),
)


@contextmanager
def without_collecting() -> Iterator[None]:
    """A history is short: what is left of it is found when it is over, and not again and again meanwhile."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def small_sizes() -> Iterator[None]:
    """Frames, credit and thresholds so small that little data goes through all of it."""
    with ExitStack() as stack:
        for module, name, value in SMALL:
            stack.enter_context(patch.object(module, name, value))
        yield


class _Repairs:
    """The log of repairs. It is what tells people where nobody knows any more what was lost and what was dropped."""

    def __init__(self, log: Any, world: World) -> None:
        self._log = log
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def error(self, event: str, **keys: Any) -> None:
        if event == EVERYWHERE:
            self._world.damaged_everywhere.add(keys["space"])
        self._log.error(event, **keys)


def run_history(
    seed: int,
    actions: int = ACTIONS,
    devices: int | None = None,
    ways: Ways | None = None,
    more: Mapping[str, float] | None = None,
) -> Counter[str]:
    """Raises whatever went wrong; the world's trace is in its notes. `ways`: how devices hear of each other; drawn from
    the seed if it is not said. `more`: what happens more often than usual, by how much.
    """
    is_small = random.Random(seed ^ 0x5EED).random() < 0.9
    with scratch() as folder, without_collecting(), ExitStack() as stack:
        stack.enter_context(patch.object(switchboard, "gc", NO_COLLECTING))
        stack.enter_context(patch.object(founding, "build", build_from_template))
        if is_small:
            stack.enter_context(small_sizes())
        if random.Random(seed ^ 0xE4D).random() < FEW_ENDS:
            stack.enter_context(patch.object(trimming, "ENDS_PER_ORIGIN", 2))

        async def history() -> Counter[str]:
            world = World(seed, folder, devices)
            stack.enter_context(patch.object(damage, "log", _Repairs(damage.log, world)))
            world.more = more or {}
            if not is_small:
                world.bulk, world.large_bytes = 2_500, 300_000
            dice, given = world.chance.random(), ways or ""
            if given in RELAYED_WAYS or (not given and dice < RELAYED):
                world.with_relays(apart=given == "relays" or (not given and dice < APART))
                world.counts["with relays"] += 1
                world.counts["apart"] += world.apart
            try:
                await found(world)
                for _ in range(actions):
                    await programs.act(world)
                    world.look_at_ledger()
                    world.look_at_relays()
                await settle(world)
                await check(world)
            except BaseException as problem:
                problem.add_note(f"seed {seed}, {len(world.devices)} devices; " + "; ".join(world.trace))
                await world.abandon()
                raise
            await world.stop()
            return world.counts + world.ledger.counts

        return run(history())
