"""What is known of each other device right now: where it may be, whether it is linked, and if not, why.

For people and for dialling; nothing here proves an identity.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from peerd.core.stored import Address
from peerd.engine.links.clones import Clones
from peerd.engine.ports import Times

ADDRESSES = 16
SHORT_LINK_S = 3.0  # what ends sooner most likely ends of itself, and not by the weather
AWAY = 4  # dials in vain, within half a minute
UNHEARD = frozenset({"unknown-device", "removed"})  # what a member says that has not heard of our admission


class Trouble(Struct, frozen=True):
    """Why a device is not linked: a stable code, a sentence, what to do next."""

    code: str
    text: str
    next_step: str = ""


NOT_FOUND = Trouble(
    "not-found",
    "not found on this network",
    "Is it switched on, is peerd running there, and is it on the same network? "
    "Across subnets, name it under network.peers.",
)

DIALS_US = Trouble(
    "dials-us",
    "not linked: it dials us, and we have no address of it",
    "If it runs it comes by itself. To dial it from here as well, name it under network.peers.",
)
NEVER_SEEN = Trouble(
    "never-seen",
    "admitted, never seen",
    "If its `peerctl join` failed, invite it again: it stays one member. If it is not to come, `peerctl remove` it.",
)
NEVER_SEEN_HERE = Trouble(
    "never-seen",
    "let in by another member, never seen here",
    "It may be where this device cannot see it: `peerctl members` on the device that let it in tells whether it came.",
)
TWO_MACHINES = Trouble(
    "two-machines",
    "two machines run with its key and throw each other out: one is a copy of the other",
    'Make the copy a device of its own: see docs/recovery.md, "A cloned machine".',
)


class PeerNote(Struct):
    """One device. `since_ms` is when `state` last changed."""

    device: bytes
    name: str = ""
    addresses: tuple[Address, ...] = ()  # the most promising first
    sighted_s: float | None = None  # monotonic, of the last sighting or loss of a link
    state: str = "offline"  # linked | offline | refused
    trouble: Trouble | None = NOT_FOUND
    since_ms: int = 0
    attempts: int = 0
    short_links: int = 0  # in a row, of which the last was just now
    version: str = ""
    offset_ms: float | None = None


class PeerBook:
    def __init__(self, times: Times) -> None:
        self.notes: dict[bytes, PeerNote] = {}
        self.clones = Clones(times)
        self._times = times

    def note(self, device: bytes) -> PeerNote:
        """The note of a device, made if there is none."""
        found = self.notes.get(device)
        if found is None:
            found = self.notes[device] = PeerNote(device, since_ms=self._times.wall_ms())
        return found

    def sighted(self, device: bytes, addresses: Iterable[Address]) -> PeerNote:
        """Discovery says that it may be at these addresses: they go first."""
        note = self.note(device)
        fresh = tuple(dict.fromkeys((*addresses, *note.addresses)))
        note.addresses = fresh[:ADDRESSES]
        note.sighted_s = self._times.monotonic_s()
        note.attempts = 0
        return note

    def remembered(self, device: bytes, name: str, addresses: Iterable[Address]) -> None:
        """What an earlier run knew: tried, but no sighting."""
        note = self.note(device)
        note.name = note.name or name
        note.addresses = tuple(dict.fromkeys((*note.addresses, *addresses)))[:ADDRESSES]

    def linked(self, device: bytes, name: str, version: str) -> None:
        note = self.note(device)
        note.name, note.version = name or note.name, version
        note.attempts = 0
        self._turn(note, "linked", None)

    def worked(self, device: bytes, address: Address) -> None:
        """We reached it there."""
        note = self.note(device)
        note.addresses = tuple(dict.fromkeys((address, *note.addresses)))[:ADDRESSES]

    def lost(self, device: bytes, trouble: Trouble, lasted_s: float) -> None:
        """Its link has ended. If that was soon, the next one will most likely end likewise: it is not worth a try at
        once because it was here just now.
        """
        note = self.note(device)
        note.short_links = note.short_links + 1 if lasted_s < SHORT_LINK_S else 0
        note.sighted_s = self._times.monotonic_s()
        if trouble.code == "duplicate":
            self.clones.thrown_out(device)
        self._turn(note, "offline", trouble)

    def failed(self, device: bytes, trouble: Trouble, *, refused: bool) -> None:
        """A dial failed."""
        note = self.note(device)
        note.attempts += 1
        self._turn(note, "refused" if refused else "offline", trouble)

    def readmitted(self, device: bytes) -> None:
        """We were let in anew: a refusal of before says nothing about that. It is asked again."""
        note = self.note(device)
        if note.state == "refused" and note.trouble is not None and note.trouble.code in UNHEARD:
            note.sighted_s = self._times.monotonic_s()
            note.attempts = 0
            self._turn(note, "offline", None)

    def away(self) -> set[bytes]:
        """Those that were dialled in vain so often, since they were last seen, that they are most likely not there."""
        return {device for device, note in self.notes.items() if note.state != "linked" and note.attempts >= AWAY}

    def forget(self, device: bytes) -> None:
        self.notes.pop(device, None)
        self.clones.forget(device)

    def _turn(self, note: PeerNote, state: str, trouble: Trouble | None) -> None:
        if note.state != state:
            note.since_ms = self._times.wall_ms()
        note.state, note.trouble = state, trouble
