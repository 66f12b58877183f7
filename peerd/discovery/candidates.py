"""The announcements that stand at the moment, put together and bounded.

A device announces on each of its links under another name, and may be heard on several of ours. What says exactly
the same (nonce, tags, pairing name) comes from one announcement and is one sighting with all its addresses.

    seen    an entry (our interface, instance name) is new, changed, or the first of its kind since `renew`  -> Sighting
    lost    withdrawn or expired; the last entry of a sighting takes it away                        -> instance
    sweep   entries that were not seen again since `renew` go                                          -> instances
    full    the oldest sighting goes that nobody has recognised, or else the oldest                   -> instance

Pure: no clock, no chance.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from peerd.discovery.sightings import MAX_ADDRESSES, Address, Sighting

if TYPE_CHECKING:
    from peerd.core.tags import Announcement

MAX_SIGHTINGS: Final = 64
MAX_ENTRIES_EACH: Final = 8

Entry = tuple[int, str]  # interface index, instance name on that link


class _Standing(msgspec.Struct):
    announcement: Announcement
    entries: dict[Entry, tuple[Address, ...]] = {}
    renewed: bool = True
    recognised: bool = False


class Candidates:
    """At most `MAX_SIGHTINGS` sightings of at most `MAX_ENTRIES_EACH` entries."""

    def __init__(self) -> None:
        self._standing: dict[str, _Standing] = {}
        self._instance_of: dict[Entry, str] = {}
        self._fresh: set[Entry] = set()

    def __len__(self) -> int:
        return len(self._standing)

    def seen(
        self, entry: Entry, announcement: Announcement, addresses: tuple[Address, ...]
    ) -> tuple[Sighting | None, list[str]]:
        """What is news about it: a sighting to act on, or None; and instances that went because of it."""
        instance = instance_of(announcement)
        gone = self.lost(entry) if self._instance_of.get(entry, instance) != instance else []
        standing = self._standing.get(instance)
        if standing is None:
            gone += self._make_room()
            standing = self._standing[instance] = _Standing(announcement)
            known = False
        else:
            known = standing.renewed and standing.entries.get(entry) == addresses
        while entry not in standing.entries and len(standing.entries) >= MAX_ENTRIES_EACH:
            self._forget(next(iter(standing.entries)), standing)
        standing.entries[entry] = addresses
        standing.renewed = True
        self._instance_of[entry] = instance
        self._fresh.add(entry)
        return (None if known else self._sighting(instance)), gone

    def lost(self, entry: Entry) -> list[str]:
        """The instance that is gone because of it, if that was the last sign of it."""
        instance = self._instance_of.get(entry)
        if instance is None:
            return []
        standing = self._standing[instance]
        self._forget(entry, standing)
        if standing.entries:
            return []
        del self._standing[instance]
        return [instance]

    def recognised(self, instance: str) -> None:
        """One of ours: a flood of strangers does not push it out."""
        if instance in self._standing:
            self._standing[instance].recognised = True

    def renew(self) -> None:
        """Everybody is being asked again: what is seen from here on counts as news once more."""
        self._fresh.clear()
        for standing in self._standing.values():
            standing.renewed = False

    def sweep(self) -> list[str]:
        """Forget what nobody has repeated since `renew`; gives the instances that are gone."""
        stale = [entry for entry in self._instance_of if entry not in self._fresh]
        return [instance for entry in stale for instance in self.lost(entry)]

    def clear(self) -> list[str]:
        """Forget everything; gives the instances that are gone."""
        gone = list(self._standing)
        self._standing.clear()
        self._instance_of.clear()
        self._fresh.clear()
        return gone

    def _make_room(self) -> list[str]:
        if len(self._standing) < MAX_SIGHTINGS:
            return []
        strangers = (name for name, standing in self._standing.items() if not standing.recognised)
        oldest = next(strangers, None) or next(iter(self._standing))
        for entry in self._standing.pop(oldest).entries:
            del self._instance_of[entry]
            self._fresh.discard(entry)
        return [oldest]

    def _forget(self, entry: Entry, standing: _Standing) -> None:
        del standing.entries[entry]
        del self._instance_of[entry]
        self._fresh.discard(entry)

    def _sighting(self, instance: str) -> Sighting:
        standing = self._standing[instance]
        # Each link's best address before any link's second best.
        ranked = [(place, address) for each in standing.entries.values() for place, address in enumerate(each)]
        addresses = dict.fromkeys(address for _, address in sorted(ranked, key=lambda pair: pair[0]))
        told = standing.announcement
        return Sighting(
            source="mdns",
            instance=instance,
            addresses=tuple(addresses)[:MAX_ADDRESSES],
            nonce=told.nonce,
            tags=told.tags,
            pairing_name=told.pairing_name,
        )


def instance_of(announcement: Announcement) -> str:
    """A name of our own for what an announcement says, so that no word of a stranger is used as a name."""
    packed = msgspec.msgpack.encode((announcement.nonce, sorted(announcement.tags), announcement.pairing_name))
    return "mdns-" + hashlib.blake2b(packed, digest_size=8).hexdigest()
