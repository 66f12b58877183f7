"""What is on the relay, as far as the heads of members say so: who holds what, the best snapshot, the relay's clock.

Heads are claims of members. A head whose claims turned out not to be true of its stream is not believed: what it holds
counts as not there, and so is left again by whoever has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import Struct

from peerd.core.backoff import doubling_s
from peerd.core.clocks import Clock, ReadClock, join
from peerd.protocol.relay.courier_steps import SeenHead
from peerd.protocol.relay.coverage import CLAIMS, Coverage, claim, extended, merged, tops, union
from peerd.protocol.relay.objects import INTERVALS, OBJECT_BYTES, Head, Manifest

_RETRY_S = (20.0, 1800.0)


class Seen(Struct):
    """The head of another device as it was fetched last."""

    tag: str
    head: Head | None
    coverage: Coverage
    clock: Clock


class Snapshot(Struct, frozen=True):
    device: bytes
    manifest: Manifest


class Picture(Struct, frozen=True):
    """The relay at one moment. `coverage` is of all streams that are believed, ours among them; `offered` what those
    of others and the best snapshot have at most; `clock` is the relay's clock.
    """

    coverage: Coverage
    offered: Clock
    best: Snapshot | None
    clock: Clock
    held_bytes: int


class Own(Struct, frozen=True):
    """What we have there ourselves."""

    coverage: Coverage
    sizes: list[int]
    snapshot: Manifest | None


class RelayView:
    def __init__(self) -> None:
        self.heads: dict[bytes, Seen] = {}
        self._incomplete: dict[bytes, tuple[int, float]] = {}  # whose roster was not all there: how often, until when

    def changed(self, tags: dict[bytes, str]) -> list[bytes]:
        """The devices whose head is there and is not the one that we know."""
        return [device for device, tag in tags.items() if device not in self.heads or self.heads[device].tag != tag]

    def incomplete(self, now_s: float) -> list[bytes]:
        """The devices whose head is worth fetching again, as parts of its roster were missing: rarer and rarer."""
        return [device for device, (_, until_s) in self._incomplete.items() if until_s <= now_s]

    def retry_now(self) -> None:
        """They may be there now."""
        self._incomplete = {device: (times, 0.0) for device, (times, _) in self._incomplete.items()}

    def learn(self, device: bytes, seen: SeenHead, now_s: float) -> None:
        head = seen.head
        times, _ = self._incomplete.pop(device, (0, 0.0))
        if seen.missing:
            self._incomplete[device] = times + 1, now_s + doubling_s(*_RETRY_S, times)
        if head is None:
            self.heads[device] = Seen(seen.tag, None, {}, {})
            return
        coverage = claim({origin: merged(claimed) for origin, claimed in head.covers.items()}, INTERVALS, CLAIMS)
        self.heads[device] = Seen(seen.tag, head, coverage, head.clock)

    def forget(self, device: bytes) -> None:
        self.heads.pop(device, None)
        self._incomplete.pop(device, None)

    def try_again(self) -> None:
        """Heads that could not be read may be readable now."""
        for device in [device for device, seen in self.heads.items() if seen.head is None]:
            del self.heads[device]

    def readable(self, devices: Iterable[bytes]) -> dict[bytes, tuple[Head, Seen]]:
        """The heads of these devices that can be read, in a fixed order."""
        found = ((device, self.heads[device]) for device in sorted(devices) if device in self.heads)
        return {device: (seen.head, seen) for device, seen in found if seen.head is not None}

    def snapshots(self, us: bytes, own: Manifest | None, members: Collection[bytes]) -> list[Snapshot]:
        """All that heads tell of, the best first."""
        found = [Snapshot(us, own)] if own else []
        found += [
            Snapshot(device, head.snapshot) for device, (head, _) in self.readable(members).items() if head.snapshot
        ]
        return sorted(found, key=_rank, reverse=True)

    def picture(
        self,
        us: bytes,
        own: Own,
        members: Collection[bytes],
        distrusted: frozenset[bytes],
        broken: frozenset[bytes],
    ) -> Picture:
        """`distrusted` devices' streams and `broken` snapshots (by id) do not count."""
        heads = self.readable(members)
        believed = [seen.coverage for device, (_, seen) in heads.items() if device not in distrusted]
        coverage = union([own.coverage, *believed])
        snapshots = self.snapshots(us, own.snapshot, members)
        best = next((some for some in snapshots if some.manifest.id not in broken), None)
        offered: Clock = dict(best.manifest.clock) if best else {}
        for claimed in believed:
            offered = join(offered, tops(claimed))
        held_bytes = sum(own.sizes) + sum(stream_bytes(head) for head, _ in heads.values())
        held_bytes += best.manifest.size_bytes if best else 0
        clock = extended(best.manifest.clock if best else {}, coverage)
        return Picture(coverage, offered, best, clock, held_bytes)

    def acknowledged(self, devices: Iterable[bytes]) -> list[ReadClock]:
        """What each of these says that it has applied; nothing, if its head is not there."""
        return [self.heads[device].clock if device in self.heads else {} for device in devices]


def stream_bytes(head: Head, since: int = 0) -> int:
    """The size of its segments from number `since` on, within what is possible."""
    skipped = max(0, since - head.oldest)
    return sum(min(size, OBJECT_BYTES) for size in head.sizes[skipped:])


def _rank(snapshot: Snapshot) -> tuple[int, int, bytes]:
    manifest = snapshot.manifest
    return sum(manifest.clock.values()), manifest.made_ms, manifest.id
