"""Snapshots of a space through a relay: every part is an object of its own, and the maker's head says what there is."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import NamedTuple

from peerd.core.batch import Fork
from peerd.core.clocks import Clock, ReadClock
from peerd.engine.forks.forks import RELAY_STEP
from peerd.engine.ports import Times
from peerd.engine.relay.sealed_relay import SealedRelay
from peerd.engine.space import Space
from peerd.errors import DiskFull, LocalProtocolError, RemoteProtocolError, StoreError
from peerd.logs import get
from peerd.protocol.relay import part_chain
from peerd.protocol.relay.objects import Manifest
from peerd.protocol.relay.part_chain import PartChain

log = get(__name__)

AT_ONCE = 4  # parts in one request
_LEFT_AGAIN = "Nothing: whoever made it hears of it, and leaves another one."
_STEPS = {"fork": RELAY_STEP, "needs-newer": "Update peerd on this device."}


class NotTaken(NamedTuple):
    """The snapshot at `clock`, by this maker, could not be taken in, and why. `lasting`: a person has to see to it."""

    maker: bytes
    snapshot: bytes
    clock: Clock
    code: str
    cause: str
    next_step: str
    lasting: bool


class RelaySnapshots:
    """`not_taken`: what came of the last attempt, if that was nothing; `was_refused`: it came, and was of no use."""

    def __init__(self, space: Space, sealed: SealedRelay, times: Times) -> None:
        self._space = space
        self._sealed = sealed
        self._times = times
        self.not_taken: NotTaken | None = None
        self.was_refused = False

    async def leave(self, snapshot: bytes, clocks: Iterable[ReadClock] = ()) -> Manifest | None:
        """Make one of our copy, all its parts on the relay; None if our copy cannot make one at the moment. `clocks`:
        where others stand, by their heads.

        Raises:
            RelayTrouble: some parts may be there.
        """
        outgoing = self._space.snapshots.serving.begin_outgoing(clocks)
        parts = outgoing.parts()
        count = size_bytes = 0
        chain = part_chain.first_chain(snapshot)
        try:
            while some := await _next(parts):
                named = {(snapshot, count + at): part for at, part in enumerate(some)}
                for sealed in await self._sealed.put_parts(named):
                    chain = part_chain.next_chain(chain, sealed)
                    size_bytes += len(sealed)
                count += len(some)
        except (StoreError, LocalProtocolError) as problem:
            log.warning("snapshot not made", space=self._space.name, code=problem.code, cause=str(problem))
            return None
        finally:
            await parts.aclose()
        log.info("snapshot left", space=self._space.name, count=outgoing.records, size_bytes=size_bytes)
        return Manifest(snapshot, count, size_bytes, chain, outgoing.clock, self._times.wall_ms(), outgoing.records)

    async def is_as_left(self, manifest: Manifest) -> bool:
        """Are all its parts there, and are they those that its maker left? Raises RelayTrouble."""
        stands = part_chain.first_chain(manifest.id)
        for at in range(0, manifest.parts, AT_ONCE):
            numbers = range(at, min(manifest.parts, at + AT_ONCE))
            found = await self._sealed.parts(manifest.id, numbers)
            for number in numbers:
                if number not in found:
                    return False
                stands = part_chain.next_chain(stands, found[number][1])
        return stands == manifest.digest

    async def take(
        self,
        maker: bytes,
        manifest: Manifest,
        chain: PartChain,
        keep: Callable[[], Awaitable[None]],
        *,
        replaces: bool = False,
    ) -> bool:
        """Merge one of this device into our copy, or put it in the place of that (`replaces`); False if parts of it are
        missing or of no use. One that is cut goes on later: `keep` makes what `chain` knows durable.

        Raises:
            RelayTrouble: what came is kept. StoreError: our own disk, likewise.
        """
        snapshots, self.was_refused = self._space.snapshots, False
        async with snapshots.fetching:
            parts = self._fetch(manifest, await snapshots.wanted(manifest.id), chain, keep)
            try:
                complete = await snapshots.take_in(
                    manifest.id, parts, manifest.clock, maker=maker, replaces=replaces, settles=True
                )
            except (RemoteProtocolError, Fork) as problem:
                log.warning("snapshot refused", space=self._space.name, cause=str(problem))
                code = "fork" if isinstance(problem, Fork) else problem.code
                step = _STEPS.get(code, _LEFT_AGAIN)
                self.not_taken = NotTaken(maker, manifest.id, manifest.clock, code, str(problem), step, code in _STEPS)
                self.was_refused = True
                return False
            except DiskFull as full:
                self.not_taken = NotTaken(
                    maker, manifest.id, manifest.clock, full.code, str(full), full.next_step, lasting=True
                )
                raise
            else:
                self.not_taken = None if complete else self.not_taken
                return complete
            finally:
                await parts.aclose()

    async def _fetch(
        self, manifest: Manifest, first: int, chain: PartChain, keep: Callable[[], Awaitable[None]]
    ) -> AsyncGenerator[bytes, None]:
        """From the part `first` on; it ends where one is missing. What is not what its maker left is no use. Where the
        chain is not known any more, it is reckoned anew from all that came before.
        """
        known = chain.before(manifest.id, first)
        at, stands = (first, known) if known is not None else (0, part_chain.first_chain(manifest.id))
        while at < manifest.parts:
            numbers = range(at, min(manifest.parts, at + AT_ONCE))
            found = await self._sealed.parts(manifest.id, numbers)
            opened: list[bytes] = []
            for number in itertools.takewhile(found.__contains__, numbers):
                plain, sealed = found[number]
                stands = part_chain.next_chain(stands, sealed)
                if number >= first:
                    opened.append(plain)
                    chain.add(manifest.id, number + 1, stands)
                if number == manifest.parts - 1 and stands != manifest.digest:
                    raise RemoteProtocolError("a snapshot is not what its maker left", code="snapshot-damaged")
            await keep()
            for plain in opened:
                yield plain
            if len(found) < len(numbers):
                return
            at = numbers.stop


async def _next(parts: AsyncGenerator[bytes, None]) -> list[bytes]:
    some: list[bytes] = []
    async for part in parts:
        some.append(part)
        if len(some) == AT_ONCE:
            break
    return some
