"""Trying a relay: what works is said, the first thing that does not ends it, and nothing stays behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from peerd.errors import RelayTrouble
from peerd.protocol.relay.objects import RelayObject
from peerd.relay.probing import probe

NAME = "ab" * 32


class Storage:
    """In memory, and wrong in one way if it is told so."""

    def __init__(self, fault: str = "") -> None:
        self.objects: dict[str, bytes] = {}
        self.fault = fault

    def _fails(self, operation: str) -> None:
        if self.fault == operation:
            raise RelayTrouble(f"no {operation}", code="relay-denied", next_step="Grant it.")

    async def lookup(self, names: Sequence[str], *, contents: bool) -> Mapping[str, RelayObject]:
        self._fails("lookup")
        data = {name: self.objects[name] for name in names if name in self.objects}
        if self.fault == "cut":
            data = {name: one[:3] for name, one in data.items()}
        return {name: RelayObject(one.hex(), one if contents else None) for name, one in data.items()}

    async def create(self, objects: Mapping[str, bytes]) -> Sequence[str]:
        self._fails("create")
        self.objects |= objects
        return []

    async def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        self._fails("replace")
        if self.fault == "stuck" or (self.objects[name].hex() != tag and self.fault != "careless"):
            return None
        self.objects[name] = data
        return data.hex()

    async def delete(self, names: Sequence[str]) -> None:
        self._fails("delete")
        if self.fault != "sticky":
            for name in names:
                self.objects.pop(name, None)


async def test_a_relay_that_works_is_tried_in_every_way() -> None:
    storage = Storage()
    probes = await probe(storage, NAME)
    assert [(one.check, one.ok) for one in probes] == [
        ("read", True), ("write", True), ("replace", True), ("remove", True),
    ]  # fmt: skip
    assert storage.objects == {}


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("lookup", "read", "no lookup [relay-denied]"),
        ("create", "write", "no create [relay-denied]"),
        ("replace", "replace", "no replace [relay-denied]"),
        ("delete", "remove", "no delete [relay-denied]"),
        ("cut", "write", "cannot be read back"),
        ("stuck", "replace", "could not be replaced"),
        ("careless", "replace", "an old tag"),
        ("sticky", "remove", "still there"),
    ],
)
async def test_the_first_thing_that_fails_is_told(fault: str, check: str, words: str) -> None:
    storage = Storage(fault)
    probes = await probe(storage, NAME)
    assert [one.ok for one in probes] == [True] * (len(probes) - 1) + [False]
    assert probes[-1].check == check
    assert words in probes[-1].text
    assert probes[-1].next_step
    assert storage.objects == {} or fault in {"delete", "sticky"}


async def test_what_is_there_already_is_no_good_sign() -> None:
    storage = Storage()
    storage.objects[NAME] = b"?"
    (only,) = await probe(storage, NAME)
    assert (only.check, only.ok) == ("read", False)
