"""What relays need of the edges, beside `ports`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from peerd.core.roster.epochs import RelayKeys
from peerd.core.stored import RelayKept, SegmentId
from peerd.protocol.relay.objects import RelayObject, SignedHead


class RelayStore(Protocol):
    """Storage that cannot think: objects by name. Every method may be repeated, and raises RelayTrouble."""

    async def prepare(self) -> None:
        """Make what it needs there; called only where this device never used it, as far as it knows."""
        ...

    @property
    def object_bytes(self) -> int:
        """The largest object that it takes."""
        ...

    async def lookup(self, names: Sequence[str], *, contents: bool) -> Mapping[str, RelayObject]:
        """Those of these objects that are there; without `contents`, their tags alone."""
        ...

    async def create(self, objects: Mapping[str, bytes]) -> Sequence[str]:
        """Make objects that must not exist yet. Gives the names that are there already with *other* bytes, and were
        left as they are; the same bytes are as good as made.
        """
        ...

    async def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        """Put an object in the place of the one with this tag (None: there must be none). Gives its new tag; None,
        and nothing is changed, if another one is there.
        """
        ...

    async def leave(
        self, objects: Mapping[str, bytes], name: str, data: bytes, tag: str | None
    ) -> tuple[Sequence[str], str | None]:
        """`create` these objects, then `replace` that one, in as few requests as can be; what each of them gives. If
        others are there in the place of objects, nothing may have been replaced, and there is no new tag.
        """
        ...

    async def delete(self, names: Sequence[str]) -> None:
        """Remove objects; one that is not there is removed already."""
        ...

    async def check(self, name: str) -> Sequence[tuple[str, bool, str, str]]:
        """Try what peerd needs, with an object of this name that is gone afterwards: what was tried, whether it works,
        a sentence, what to do next.
        """
        ...

    async def close(self) -> None: ...


class Sealing(Protocol):
    """How what lies on a relay is sealed: see `peerd.relay.sealing` and `peerd.relay.heads`. Opening raises
    RemoteProtocolError, as `peerd.protocol.relay.damage` reads it.
    """

    def seal_object(self, name: str, plaintext: bytes, keys: RelayKeys) -> bytes:
        """A segment or a part under an epoch; it opens under this name only."""
        ...

    def open_object(self, name: str, data: bytes, keys: Iterable[RelayKeys]) -> bytes: ...

    def seal_head(
        self, name: str, head: SignedHead, space: bytes, keys: RelayKeys, readers: Sequence[bytes], like: int = 0
    ) -> bytes:
        """A head, which whoever knows the epoch can open, and whoever has one of these X25519 keys. It looks like one
        for `like` readers if they are fewer.
        """
        ...

    def open_head(self, name: str, data: bytes, space: bytes, keys: Iterable[RelayKeys]) -> SignedHead: ...


class TicketKeys(Protocol):
    """Ed25519 keys that are made for one ticket each and travel in a file, given by their seeds (32 bytes)."""

    def public_key_of(self, private: bytes) -> bytes: ...
    def sign_with(self, private: bytes, data: bytes) -> bytes: ...


class CourierStore(Protocol):
    """What couriers of a space have to find again, in its database. Every method that writes is durable when it
    returns.
    """

    async def load(self, relay: str) -> RelayKept: ...
    async def save(self, relay: str, memory: bytes, outbox: Mapping[SegmentId, bytes]) -> None:
        """Keep what is remembered of a relay, and these sealed segments instead of those before, in one step."""
        ...

    async def forget(self, relay: str) -> None: ...
