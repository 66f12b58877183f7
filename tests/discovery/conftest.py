"""What the tests of discovery share: a network of their own, and Mdns instances that write down what they see."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from peerd.discovery.mdns import Mdns
from tests.support.namespaces import Network, missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from peerd.discovery.sightings import Sighting

WAIT_S = 15.0


class Watcher:
    """An Mdns and everything it reported, with a way to wait for it."""

    def __init__(self, port: int, interfaces: tuple[str, ...], settings: dict[str, Any]) -> None:
        self.seen: list[Sighting] = []
        self.gone: list[str] = []
        self.nonces: list[bytes] = []
        self._news = asyncio.Event()
        self.mdns = Mdns(
            port=port,
            interfaces=interfaces,
            on_sighting=self._sighting,
            on_gone=self._lost,
            random_bytes=os.urandom,
            **settings,
        )

    async def announce(self, *tags: bytes, name: str | None = None) -> None:
        """Announce these tags whatever the nonce, which is noted."""

        def tags_for(nonce: bytes) -> list[bytes]:
            self.nonces.append(nonce)
            return list(tags)

        await self.mdns.announce(tags_for, name)

    @property
    def standing(self) -> dict[str, Sighting]:
        """The latest of each sighting that has not gone."""
        return {each.instance: each for each in self.seen if each.instance not in self.gone}

    def of(self, other: Watcher) -> Sighting | None:
        """What stands of the announcement that `other` makes now."""
        return next((each for each in self.standing.values() if each.nonce == other.nonces[-1]), None)

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until `condition()` is true and give its value; a test that waits in vain fails."""
        async with asyncio.timeout(WAIT_S):
            while not (value := condition()):
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.2)
        return value

    def _sighting(self, sighting: Sighting) -> None:
        self.seen.append(sighting)
        self._news.set()

    def _lost(self, instance: str) -> None:
        self.gone.append(instance)
        self._news.set()


@pytest.fixture
async def watcher() -> AsyncIterator[Callable[..., Any]]:
    """Makes and starts watchers; each is stopped at the end."""
    made: list[Watcher] = []

    async def make(port: int = 7337, interfaces: tuple[str, ...] = ("lo",), **settings: Any) -> Watcher:
        made.append(Watcher(port, interfaces, settings))
        await made[-1].mdns.start()
        return made[-1]

    yield make
    for each in made:
        await each.mdns.stop()


@pytest.fixture
def network() -> Iterator[Network]:
    """A switch for machines made of namespaces; skipped where there are none."""
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    with Network() as made:
        yield made


@pytest.fixture
def quiet_loopback() -> Iterator[None]:
    """A loopback that nobody else announces on, where that can be had; elsewhere the machine's own."""
    if missing():
        yield
        return
    with Network() as made, made.machine("alone").entered():
        yield
