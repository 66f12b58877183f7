"""Trying on a relay what peerd needs of it: leave an object, find it, replace it, remove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from peerd.errors import RelayTrouble
from peerd.protocol.relay.objects import RelayObject

_BEFORE, _AFTER = b"peerd was here", b"peerd was here again"


class Probe(NamedTuple):
    """What was tried, whether it works, a sentence, and what to do next."""

    check: str
    ok: bool
    text: str
    next_step: str = ""


class Operations(Protocol):
    async def lookup(self, names: Sequence[str], *, contents: bool) -> Mapping[str, RelayObject]: ...
    async def create(self, objects: Mapping[str, bytes]) -> Sequence[str]: ...
    async def replace(self, name: str, data: bytes, tag: str | None) -> str | None: ...
    async def delete(self, names: Sequence[str]) -> None: ...


async def probe(relay: Operations, name: str) -> list[Probe]:
    """Try all four operations with an object of this name, which is gone afterwards. The first that fails ends it."""
    probes: list[Probe] = []
    steps = (
        ("read", _read, "objects are looked up"),
        ("write", _write, "an object was left, and read back as it was"),
        ("replace", _replace, "an object was replaced by its owner, and not by somebody with an old tag"),
        ("remove", _remove, "an object was removed"),
    )
    for check, step, works in steps:
        try:
            failure = await step(relay, name)
        except RelayTrouble as trouble:
            probes.append(Probe(check, ok=False, text=f"{trouble} [{trouble.code}]", next_step=trouble.next_step))
            break
        probes.append(Probe(check, ok=not failure, text=failure or works, next_step=_ODD if failure else ""))
        if failure:
            break
    if not all(one.ok for one in probes):
        await _tidy(relay, name)
    return probes


_ODD = "The storage does not do what it says. Nothing is lost by that, but nothing gets through either."


async def _read(relay: Operations, name: str) -> str:
    return "an object is there that nobody left" if await relay.lookup([name], contents=False) else ""


async def _write(relay: Operations, name: str) -> str:
    await relay.create({name: _BEFORE})
    found = await relay.lookup([name], contents=True)
    return "" if name in found and found[name].data == _BEFORE else "what was left cannot be read back"


async def _replace(relay: Operations, name: str) -> str:
    found = await relay.lookup([name], contents=False)
    tag = await relay.replace(name, _AFTER, found[name].tag if name in found else None)
    if tag is None:
        return "an object could not be replaced"
    if await relay.replace(name, _BEFORE, found[name].tag) is not None:
        return "an old tag still lets an object be replaced"
    return ""


async def _remove(relay: Operations, name: str) -> str:
    await relay.delete([name])
    return "an object is still there" if await relay.lookup([name], contents=False) else ""


async def _tidy(relay: Operations, name: str) -> None:
    try:
        await relay.delete([name])
    except RelayTrouble:
        return  # what failed is told already
