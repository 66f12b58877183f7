"""A container as a relay: the four operations of `RelayStore`, each of which may be repeated.

What is looked at twice: `create` where a record exists already (is it ours, from a try whose answer was lost?), and
`replace` where the tag is another one (the same). Requests that are too large are halved.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from peerd.errors import RelayTrouble
from peerd.protocol.relay.objects import OBJECT_BYTES, RelayObject
from peerd.relay.cloudkit import answers, assets, refusals, requests
from peerd.relay.cloudkit.answers import Garbled, Gone, Outcome, Refused, Stored
from peerd.relay.cloudkit.client import Client, TooMuch
from peerd.relay.cloudkit.probe import Finding, Probe, check
from peerd.relay.cloudkit.requests import Operation

INLINE_BYTES = 256 << 10  # what is larger becomes an asset: parts of snapshots, and segments of a long absence


_TAKEN = {"CONFLICT", "EXISTS"}  # which of them a create gets is not settled


class CloudKitStore:
    """Satisfies `engine.ports.RelayStore`. Every method raises RelayTrouble."""

    def __init__(self, client: Client, *, object_bytes: int = OBJECT_BYTES, inline_bytes: int = INLINE_BYTES) -> None:
        self._client = client
        self._object_bytes = object_bytes
        self._inline_bytes = inline_bytes

    @property
    def object_bytes(self) -> int:
        """The largest object that it takes."""
        return self._object_bytes

    async def lookup(self, names: Sequence[str], *, contents: bool) -> Mapping[str, RelayObject]:
        """Those that are there; without `contents`, their tags alone."""
        wanted = list(dict.fromkeys(names))
        at_once = requests.READ_AT_ONCE if contents else requests.MAX_OPERATIONS
        found: dict[str, RelayObject] = {}
        for some in _chunks(wanted, at_once):
            for name, stored in (await self._stored(some, contents=contents)).items():
                found[name] = await self._object(name, stored, contents=contents)
        return found

    async def create(self, objects: Mapping[str, bytes]) -> Sequence[str]:
        """Make objects. Gives the names of those that are there already with other bytes."""
        self._check_sizes(objects)
        large = [name for name, data in objects.items() if len(data) > self._inline_bytes]
        taken = await self._modify(
            [Operation("create", name, data) for name, data in objects.items() if len(data) <= self._inline_bytes],
            _TAKEN,
        )
        for some in _chunks(large, assets.AT_ONCE):
            taken += await self._create_large({name: objects[name] for name in some})
        return await self._with_other_bytes({name: objects[name] for name in taken})

    async def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        """Put an object in the place of the one with this tag (None: there must be none). Gives the new tag; None if
        another one is there, with other bytes.
        """
        self._check_sizes({name: data})
        asset = None
        if len(data) > self._inline_bytes:
            asset = (await assets.upload(self._client, {name: data}))[name]
        operation = _replacing(name, b"" if asset is not None else data, tag, asset)
        outcome = await self._outcomes("records/modify", requests.modify_body([operation]), [name])
        return await self._replaced(name, data, outcome.get(name))

    async def _replaced(self, name: str, data: bytes, outcome: Outcome | None) -> str | None:
        match outcome:
            case Stored(tag=written):
                return written
            case Refused(code=code) if code in _TAKEN:
                pass
            case Gone():
                pass  # a tag was given, and there is nothing that it could be of
            case other:
                raise self._failed(name, other)
        there = (await self.lookup([name], contents=True)).get(name)
        return there.tag if there is not None and there.data == data else None

    async def leave(
        self, objects: Mapping[str, bytes], name: str, data: bytes, tag: str | None
    ) -> tuple[Sequence[str], str | None]:
        """Operations of one request are carried out in their order, and each by itself."""
        self._check_sizes({**objects, name: data})
        together = [Operation("create", one, some) for one, some in objects.items()]
        together.append(_replacing(name, data, tag, None))
        (batch, *more) = requests.batches(together)
        if not more and max(len(one.data) for one in batch) <= self._inline_bytes:
            with suppress(TooMuch):
                return await self._left_together(batch, objects, data)
        different = await self.create(objects)
        return different, None if different else await self.replace(name, data, tag)

    async def _left_together(
        self, batch: Sequence[Operation], objects: Mapping[str, bytes], data: bytes
    ) -> tuple[Sequence[str], str | None]:
        names = [one.name for one in batch]
        outcomes = await self._outcomes("records/modify", requests.modify_body(batch), names)
        taken = []
        for name in objects:
            match outcomes.get(name):
                case Stored():
                    pass
                case Refused(code=code) if code in _TAKEN:
                    taken.append(name)
                case Gone():
                    raise self._failed(name, None)
                case other:
                    raise self._failed(name, other)
        different = await self._with_other_bytes({name: objects[name] for name in taken})
        return different, await self._replaced(names[-1], data, outcomes.get(names[-1]))

    async def delete(self, names: Sequence[str]) -> None:
        """Remove objects; one that is not there is removed already."""
        await self._modify([Operation("forceDelete", name) for name in dict.fromkeys(names)], set())

    async def prepare(self) -> None:
        """Nothing: the schema is made in Apple's Console."""

    async def check(self, name: str) -> Sequence[Finding]:
        """Try everything that the store does, with a record of this name, which is removed again. Raises nothing."""
        probe = Probe(
            self._client,
            CloudKitStore(self._client, inline_bytes=self._object_bytes),
            CloudKitStore(self._client, inline_bytes=0),
            name,
            name.encode() * 16,
        )
        return await check(probe)

    async def close(self) -> None:
        """End the connection."""
        await self._client.close()

    # --- reading --------------------------------------------------------------------------------------------------

    async def _stored(self, names: Sequence[str], *, contents: bool) -> dict[str, Stored]:
        async def ask(some: Sequence[str]) -> dict[str, Outcome]:
            return await self._outcomes("records/lookup", requests.lookup_body(some, contents=contents), some)

        found: dict[str, Stored] = {}
        for name, outcome in (await _halved(names, ask)).items():
            if isinstance(outcome, Stored):
                found[name] = outcome
            elif not isinstance(outcome, Gone):
                raise self._failed(name, outcome)
        return found

    async def _object(self, name: str, stored: Stored, *, contents: bool) -> RelayObject:
        if not contents:
            return RelayObject(stored.tag)
        if stored.data is not None or stored.asset is None:
            return RelayObject(
                stored.tag, stored.data or b""
            )  # a record without bytes is none of ours, but it is there
        data = await assets.download(self._client, name, stored.asset, self._object_bytes)
        if data is None:
            again = (await self._stored([name], contents=True)).get(name)
            if again is not None and again.asset is not None:
                stored = again
                data = await assets.download(self._client, name, again.asset, self._object_bytes)
        if data is None:
            raise RelayTrouble(
                "CloudKit names an address for a large object, and there is nothing.",
                next_step="Nothing to do: it is asked again by itself.",
            )
        return RelayObject(stored.tag, data)

    async def _with_other_bytes(self, objects: Mapping[str, bytes]) -> list[str]:
        if not objects:
            return []
        there = await self.lookup(list(objects), contents=True)
        for name in objects:
            if name not in there:
                raise RelayTrouble(
                    "CloudKit says that an object exists, and then that it does not.",
                    next_step="Nothing to do: it is asked again by itself.",
                )
        return [name for name, data in objects.items() if there[name].data != data]

    # --- writing --------------------------------------------------------------------------------------------------

    async def _create_large(self, objects: Mapping[str, bytes]) -> list[str]:
        """Gives the names of those that are there already: bytes are not brought for them again."""
        there = list(await self.lookup(list(objects), contents=False))
        missing = {name: data for name, data in objects.items() if name not in there}
        if not missing:
            return there
        receipts = await assets.upload(self._client, missing)
        return there + await self._modify([Operation("create", name, asset=receipts[name]) for name in missing], _TAKEN)

    async def _modify(self, operations: Sequence[Operation], passing: set[str]) -> list[str]:
        """Carry them out. Gives the names whose refusal is one of `passing`; any other one is raised, after all of
        the request that it stands in were looked at.
        """
        passed: list[str] = []
        for batch in requests.batches(operations):
            by_name = {one.name: one for one in batch}

            async def ask(names: Sequence[str], by_name: Mapping[str, Operation] = by_name) -> dict[str, Outcome]:
                body = requests.modify_body([by_name[name] for name in names])
                return await self._outcomes("records/modify", body, names)

            failed: RelayTrouble | None = None
            for name, outcome in (await _halved(list(by_name), ask)).items():
                if isinstance(outcome, Refused) and outcome.code in passing:
                    passed.append(name)
                elif isinstance(outcome, Refused) or outcome is None:
                    failed = failed or self._failed(name, outcome)
                elif isinstance(outcome, Gone) and by_name[name].kind != "forceDelete":
                    failed = failed or self._failed(name, None)
            if failed is not None:
                raise failed
        return passed

    async def _outcomes(self, operation: requests.Call, body: bytes, names: Sequence[str]) -> dict[str, Outcome]:
        answer = await self._client.call(operation, body)
        try:
            found = answers.outcomes(answer, names)
        except Garbled as problem:
            raise self._client.garbled(problem) from None
        if not any(isinstance(one, Refused) and refusals.reaction(one).ill for one in found.values()):
            self._client.worked()
        return found

    def _failed(self, name: str, outcome: Outcome | None) -> RelayTrouble:
        if isinstance(outcome, Refused):
            return self._client.refuse(outcome)
        return self._client.garbled(Garbled(f"it leaves out what became of {name[:8]}..."))

    def _check_sizes(self, objects: Mapping[str, bytes]) -> None:
        largest = max(map(len, objects.values()), default=0)
        if largest > self._object_bytes:
            raise RelayTrouble(
                f"An object of {largest} bytes is larger than the {self._object_bytes} that this relay takes.",
                next_step="This is a fault of peerd; please report it.",
                lasting=True,
            )


def _replacing(name: str, data: bytes, tag: str | None, asset: Mapping[str, Any] | None) -> Operation:
    return Operation("replace" if tag is not None else "create", name, data, tag, asset)


async def _halved(
    names: Sequence[str], ask: Callable[[Sequence[str]], Awaitable[dict[str, Outcome]]]
) -> dict[str, Outcome | None]:
    """Ask for all of them, or for halves where that is too much. None: the answer leaves it out."""
    found: dict[str, Outcome | None] = {}
    waiting = [list(names)]
    while waiting:
        some = waiting.pop()
        if not some:
            continue
        try:
            given = await ask(some)
        except TooMuch:
            if len(some) == 1:
                raise
            waiting += [some[len(some) // 2 :], some[: len(some) // 2]]
            continue
        found.update({name: given.get(name) for name in some})
    return found


def _chunks(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[at : at + size] for at in range(0, len(names), size)]
