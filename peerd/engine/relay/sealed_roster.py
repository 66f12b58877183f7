"""The roster that goes with heads on a relay: in them, or, if it is too large, in parts beside them.

The same statements make the same part in every epoch. So a part outlives the epoch in which it was left, and the head
names it with the secret under which it lies there: nobody who could open it learns anything by that.

A part that is missing, or does not open, costs nobody a head: what the others say is learnt, and the head is looked at
again until all of them are here (`engine.relay.sealed_relay`). Whoever it is missed by says so, and its author looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        self._left: dict[bytes, bytes] = {}  # parts that are known to be there, by id: their secrets

    # ---- ours

    async def put_into(self, head: Head) -> Head:
        """The head with our roster as it is now; the parts that it names are there."""
        statements = self._space.roster.statements
        if relay_roster.fits(statements):
            self._left = {}
            return replace(head, statements=list(statements))
        self._left = await self._leave(statements, self._left)
        return replace(head, roster_parts=list(self._left.items()))

    async def put_part_into(self, head: Head, statements: Sequence[SignedStatement]) -> Head:
        """The head with these statements of our roster, likewise."""
        if relay_roster.fits(statements):
            return replace(head, statements=list(statements))
        return replace(head, roster_parts=list((await self._leave(statements, {})).items()))

    def forget(self) -> None:
        """The head that is there is not the one that we left, or none is: so nothing is known of its parts."""
        self._left = {}

    async def mend(self) -> None:
        """Somebody misses a part of our roster: leave again what is not there or is of no use. Our head may name it
        with another secret than it has now.
        """
        statements = self._space.roster.statements
        if not relay_roster.fits(statements):
            self._left = await self._leave(statements, {})

    async def _leave(self, statements: Sequence[SignedStatement], left: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """The parts of these statements by id, in order, with the secrets under which they are there afterwards; `left`
        are known to be there.
        """
        current = self._space_keys.current_secret()
        parts = self._parts(statements)
        looked_for = {part.name: part for part in parts if part.id not in left}
        found = await self._store.lookup(list(looked_for), contents=True) if looked_for else {}
        known: dict[bytes, bytes | None] = {**left}
        known |= {part.id: self._secret_of(part, found[name]) for name, part in looked_for.items() if name in found}
        secrets = {part.id: known.get(part.id) or self._part_secret(current, part.id) for part in parts}
        lacking = {name: part for name, part in looked_for.items() if name not in found}
        await self._store.create({name: self._seal(part, secrets[part.id]) for name, part in lacking.items()})
        for name, there in found.items():
            part = looked_for[name]
            if known[part.id] is None:
                await self._store.replace(name, self._seal(part, secrets[part.id]), there.tag)
        return secrets

    def _parts(self, statements: Sequence[SignedStatement]) -> list[_Part]:
        names_key, ours = self._space_keys.names(), self._keys.device
        plain = {relay_roster.part_id(ours, one): one for one in relay_roster.split(statements)}
        return [_Part(part, relay_names.roster_name(names_key, part), one) for part, one in plain.items()]

    def _secret_of(self, part: _Part, there: RelayObject) -> bytes | None:
        """Under which of the secrets of our epochs this lies there; None if it is something else."""
        secrets = (self._part_secret(secret, part.id) for secret in self._space_keys.secrets())
        return next((one for one in secrets if self._opened(part.name, there, one) == part.plain), None)

    def _part_secret(self, secret: bytes, part: bytes) -> bytes:
        return epochs.roster_part_secret(self._space.id, secret, part)

    def _seal(self, part: _Part, secret: bytes) -> bytes:
        return self._sealing.seal_object(part.name, part.plain, epochs.relay_keys(self._space.id, secret))

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
