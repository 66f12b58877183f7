"""The roster that goes with heads on a relay: in them, or, if it is too large, in parts beside them.

A part that is missing, or does not open, costs nobody a head: what the others say is learnt, and the head is looked at
again until all of them are here (`engine.relay.sealed_relay`). Whoever it is missed by says so, and its author looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from peerd.core.roster import epochs
from peerd.core.roster.statements import SignedStatement
from peerd.engine.ports import Keys
from peerd.engine.relay.keys import SpaceKeys
from peerd.engine.relay.ports import RelayStore, Sealing
from peerd.engine.space import Space
from peerd.errors import RemoteProtocolError
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay import roster as relay_roster
from peerd.protocol.relay.objects import Head, RelayObject


class _Part(NamedTuple):
    id: bytes
    secret: bytes
    name: str
    plain: bytes


class SealedRoster:
    """Every method raises RelayTrouble, as `SealedRelay`."""

    def __init__(self, space: Space, space_keys: SpaceKeys, store: RelayStore, sealing: Sealing, keys: Keys) -> None:
        self._space = space
        self._space_keys = space_keys
        self._store = store
        self._sealing = sealing
        self._keys = keys
        self._left: set[bytes] = set()  # parts that are known to be there

    # ---- ours

    async def put_into(self, head: Head) -> Head:
        """The head with our roster as it is now; the parts that it names are there."""
        told, left = await self._put(head, self._space.roster.statements, self._left)
        self._left = left
        return told

    async def put_part_into(self, head: Head, statements: Sequence[SignedStatement]) -> Head:
        """The head with these statements of our roster, likewise."""
        told, _ = await self._put(head, statements, set())
        return told

    async def _put(
        self, head: Head, statements: Sequence[SignedStatement], left: set[bytes]
    ) -> tuple[Head, set[bytes]]:
        """`left` are the ids of parts that are known to be there; it gives those that the head names."""
        if relay_roster.fits(statements):
            return replace(head, statements=list(statements)), set()
        parts = self._parts(statements)
        lacking = {part.name: self._seal(part) for part in parts if part.id not in left}
        await self._store.create(lacking)  # others under these names are of the same contents, sealed before
        named = [(part.id, part.secret) for part in parts]
        return replace(head, roster_parts=named), {part.id for part in parts}

    async def mend(self) -> None:
        """Somebody misses a part of our roster: leave again what is not there or is of no use."""
        statements = self._space.roster.statements
        if relay_roster.fits(statements):
            return
        parts = {part.name: part for part in self._parts(statements)}
        found = await self._store.lookup(list(parts), contents=True)
        await self._store.create({name: self._seal(part) for name, part in parts.items() if name not in found})
        for name, there in found.items():
            part = parts[name]
            if self._opened(part.name, there, part.secret) != part.plain:
                await self._store.replace(name, self._seal(part), there.tag)
        self._left = {part.id for part in parts.values()}

    def _parts(self, statements: Sequence[SignedStatement]) -> list[_Part]:
        secret, names_key = self._space_keys.current_secret(), self._space_keys.names()
        parts: list[_Part] = []
        for plain in relay_roster.split(statements):
            one = relay_roster.part_id(self._keys.device, plain)
            own = epochs.roster_part_secret(self._space.id, secret, one)
            parts.append(_Part(one, own, relay_names.roster_name(names_key, one), plain))
        return parts

    def _seal(self, part: _Part) -> bytes:
        return self._sealing.seal_object(part.name, part.plain, epochs.relay_keys(self._space.id, part.secret))

    # ---- theirs

    async def read(self, device: bytes, head: Head) -> tuple[list[SignedStatement], list[bytes]]:
        """What the roster of a head of this device says, and the ids of the parts that are not there or are others."""
        if not head.roster_parts:
            return head.statements, []
        names_key = self._space_keys.names()
        named = head.roster_parts[: relay_roster.PARTS]
        names = {relay_names.roster_name(names_key, part): (part, secret) for part, secret in named}
        found = await self._store.lookup(list(names), contents=True)
        statements: list[SignedStatement] = []
        missing: list[bytes] = []
        for name, (part, secret) in names.items():
            plain = self._opened(name, found[name], secret) if name in found else None
            if plain is not None and relay_roster.part_id(device, plain) != part:
                plain = None  # whoever could read the head once knows its secret
            try:
                statements += relay_roster.join([plain] if plain is not None else [])
            except RemoteProtocolError:
                plain = None
            if plain is None:
                missing.append(part)
        return statements, missing

    def _opened(self, name: str, there: RelayObject, secret: bytes) -> bytes | None:
        try:
            return self._sealing.open_object(name, there.data or b"", [epochs.relay_keys(self._space.id, secret)])
        except RemoteProtocolError:
            return None
