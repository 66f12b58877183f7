"""What `peerctl relay check` tries with a container: key, clock, rights, schema. It leaves nothing behind.

Everything that is tried is what the store does later, so that what passes here works there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from peerd.errors import RelayTrouble
from peerd.protocol.relay.objects import RelayObject
from peerd.relay.cloudkit import requests
from peerd.relay.cloudkit.client import FAR_OFF_S, Client

_SCHEMA = 'docs/cloudkit.md, "The schema"'


class Finding(NamedTuple):
    """What was tried, whether it works, how it is, and what to do next: empty where there is nothing to do."""

    what: str
    ok: bool
    sentence: str
    next_step: str = ""


class Store(Protocol):
    """The four operations."""

    async def lookup(self, names: Sequence[str], *, contents: bool) -> Mapping[str, RelayObject]: ...
    async def create(self, objects: Mapping[str, bytes]) -> Sequence[str]: ...
    async def replace(self, name: str, data: bytes, tag: str | None) -> str | None: ...
    async def delete(self, names: Sequence[str]) -> None: ...


class Probe(NamedTuple):
    """What to try it with: two stores on one client, of which `large` makes every object an asset, and a record of a
    random name and content.
    """

    client: Client
    store: Store
    large: Store
    name: str
    content: bytes


async def check(probe: Probe) -> list[Finding]:
    """Never raises RelayTrouble: it is a finding, and what cannot be tried after it is left out."""
    findings: list[Finding] = []
    try:
        async for one in _steps(probe):
            findings.append(one)  # noqa: PERF401 - what was found before an interruption counts below
    finally:
        if len(findings) > 1:  # a create was tried, and made the record perhaps, whatever it answered
            findings += await _clean_up(probe, reported=any(one.what == "create" and one.ok for one in findings))
    return findings


async def _steps(probe: Probe) -> AsyncIterator[Finding]:
    client, store, _large, name, content = probe
    try:
        there = await store.lookup([name], contents=False)
    except RelayTrouble as trouble:
        yield _bad("key", trouble)
        return
    yield Finding("key", not there, f"{client.place.container} ({client.place.environment}) accepts the key.")
    yield _clock(client)
    try:
        await store.create({name: content})
    except RelayTrouble as trouble:
        yield _bad("create", trouble)
        return
    yield Finding("create", True, "Records can be created.")
    async for finding in _read_and_write(probe):
        yield finding


async def _read_and_write(probe: Probe) -> AsyncIterator[Finding]:
    _client, store, large, name, content = probe
    try:
        found = (await store.lookup([name], contents=True)).get(name)
    except RelayTrouble as trouble:
        yield _bad("read", trouble)
        return
    if found is None or found.data != content:
        what = "is not found" if found is None else "comes back changed"
        yield Finding("read", False, f"What was created {what}.", f"Let the role that writes also read: {_SCHEMA}.")
        return
    yield Finding("read", True, "What was created can be read at once.")
    try:
        written = await store.replace(name, content[::-1], found.tag)
    except RelayTrouble as trouble:
        yield _bad("write", trouble)
        return
    yield Finding("write", written is not None, "Records can be replaced.")
    yield await _asset(large, name, content, written)
    yield await _listing(probe.client)


async def _asset(large: Store, name: str, content: bytes, tag: str | None) -> Finding:
    """A large object goes into the other field, by way of the other host."""
    try:
        await large.replace(name, content, tag)
        found = (await large.lookup([name], contents=True)).get(name)
    except RelayTrouble as trouble:
        return _bad("assets", trouble)
    if found is None or found.data != content:
        return Finding("assets", False, "A large object does not come back as it was.", f"Look at field a: {_SCHEMA}.")
    return Finding("assets", True, "Large objects can be brought and fetched.")


async def _listing(client: Client) -> Finding:
    """Whoever may ask a query sees all records of a container; without an index nobody may."""
    try:
        await client.call("records/query", requests.listing_body())
    except RelayTrouble as trouble:
        if trouble.code == "relay-misconfigured":
            return Finding("listing", True, "Records cannot be listed, as it should be.")
        return _bad("listing", trouble)
    return Finding(
        "listing",
        False,
        "Records can be listed by whoever may read.",
        f"Take every index out of the schema: {_SCHEMA}.",
    )


async def _clean_up(probe: Probe, *, reported: bool) -> list[Finding]:
    try:
        await probe.store.delete([probe.name])
        left = await probe.store.lookup([probe.name], contents=False)
    except RelayTrouble as trouble:
        return [_bad("delete", trouble)] if reported else []
    if not reported:
        return []
    return [Finding("delete", not left, "Records can be deleted." if not left else "A deleted record is still there.")]


def _clock(client: Client) -> Finding:
    off_s = client.ahead_ms / 1000
    if abs(off_s) < FAR_OFF_S:
        return Finding("clock", True, f"This device's clock and Apple's differ by {abs(off_s):.0f} s.")
    way = "behind" if off_s > 0 else "ahead"
    return Finding(
        "clock",
        False,
        f"This device's clock is {abs(off_s):.0f} s {way}. peerd signs with Apple's time meanwhile.",
        "Set it: timedatectl set-ntp true",
    )


def _bad(what: str, trouble: RelayTrouble) -> Finding:
    return Finding(what, False, str(trouble), trouble.next_step)
