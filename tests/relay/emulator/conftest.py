"""An emulator with a clock that stands still until a test moves it, and a hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.relay.emulator.hand import Hand
from tests.relay.emulator.server import Emulator


class Clock:
    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def emulator(clock: Clock) -> AsyncIterator[Emulator]:
    async with Emulator(now=clock) as running:
        yield running


@pytest.fixture
async def hand(emulator: Emulator) -> AsyncIterator[Hand]:
    one = Hand(emulator)
    yield one
    await one.close()
