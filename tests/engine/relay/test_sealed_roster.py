"""Rosters that are too large for a head, and what becomes of them on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from peerd.core.roster import epochs
from peerd.engine.relay.keys import SpaceKeys
from peerd.engine.relay.sealed_relay import SealedRelay
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay import roster as relay_roster
from peerd.protocol.relay.courier_steps import Damage
from peerd.protocol.relay.objects import Head, RelayObject
from tests.engine.conftest import Device, MakeDevice
from tests.engine.relay_scene import Sealed, new_stick, objects

HEAD = Head(counter=1, t_ms=5, stream=b"s" * 16, next=1, chain=bytes(32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_stick(tmp_path)


Open = Callable[[Device], Awaitable[SealedRelay]]


@pytest.fixture
async def open_relay(folder: Path) -> AsyncIterator[Open]:
    """Call it with a device for the relay as that device sees it."""
    sealed = Sealed(folder)
    yield sealed.as_seen_by
    await sealed.close()


async def test_a_roster_that_does_not_fit_lies_beside_the_head(
    two: tuple[Device, Device], make: MakeDevice, open_relay: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, until it changes."""
    monkeypatch.setattr(relay_roster, "INLINE_BYTES", 100)
    desk, laptop = two
    ours, theirs = await open_relay(desk), await open_relay(laptop)
    await desk.spaces.admit(desk.space, make("attic").spaces.card())
    tag = await ours.put_head(HEAD, None)
    assert len(objects(folder)) == 2
    tag = await ours.put_head(HEAD, tag)
    assert len(objects(folder)) == 2
    assert (await theirs.heads([desk.id]))[desk.id].head == HEAD
    assert len(laptop.space.roster.members) == 3


async def test_a_head_that_names_parts_without_end_costs_little(
    two: tuple[Device, Device], open_relay: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who was let in may write what it likes; a relay may count every few names as a request."""
    ours = await open_relay(two[0])
    told = replace(HEAD, roster_parts=[(b"%016d" % number, bytes(32)) for number in range(1_000)])
    looked: list[int] = []
    lookup = ours._store.lookup

    async def counting(names: Sequence[str], *, contents: bool) -> Mapping[str, RelayObject]:
        looked.append(len(names))
        return await lookup(names, contents=contents)

    monkeypatch.setattr(ours._store, "lookup", counting)
    statements, missing = await ours._roster.read(two[0].id, told)
    assert (statements, len(missing), looked) == ([], relay_roster.PARTS, [relay_roster.PARTS])


async def test_a_part_of_a_roster_is_what_was_left_there(
    two: tuple[Device, Device], make: MakeDevice, open_relay: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever could read the head once knows its secret, and may be removed by now."""
    monkeypatch.setattr(relay_roster, "INLINE_BYTES", 100)
    desk, laptop = two
    ours, theirs = await open_relay(desk), await open_relay(laptop)
    await ours.put_head(HEAD, None)
    told = await ours._roster.put_into(HEAD)
    ((part, secret),) = told.roster_parts
    name = relay_names.roster_name(ours._space_keys.names(), part)
    there = (await ours._store.lookup([name], contents=False))[name]
    await laptop.spaces.admit(laptop.space, make("accomplice").spaces.card())
    (plain,) = relay_roster.split(laptop.space.roster.statements)
    sealed = ours._sealing.seal_object(name, plain, epochs.relay_keys(desk.space.id, secret))
    assert await ours._store.replace(name, sealed, there.tag)
    assert await theirs._roster.read(desk.id, told) == ([], [part])


@pytest.mark.parametrize("lost", [True, False])
async def test_a_part_of_a_roster_that_is_lost_or_damaged_is_missed_and_left_again(
    two: tuple[Device, Device],
    make: MakeDevice,
    open_relay: Open,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: bool,  # noqa: FBT001 - a case
) -> None:
    """What the other parts say is learnt; of a head whose author they would tell of nobody says that it is forged."""
    monkeypatch.setattr(relay_roster, "INLINE_BYTES", 100)
    monkeypatch.setattr(relay_roster, "PART_BYTES", 100)
    desk, laptop = two
    attic = make("attic")
    await desk.spaces.admit(desk.space, attic.spaces.card())
    await attic.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    ours, theirs, fresh = await open_relay(attic), await open_relay(laptop), await open_relay(attic)
    await ours.put_head(HEAD, None)
    last = relay_roster.part_id(attic.id, relay_roster.split(attic.space.roster.statements)[-1])
    name = relay_names.roster_name(SpaceKeys(attic.space, attic.spaces).names(), last)
    (path,) = (path for path in objects(folder) if path.name == name)
    if lost:
        path.unlink()
    else:
        sealed = path.read_bytes()
        path.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    seen = (await theirs.heads([attic.id]))[attic.id]
    assert (seen.head, seen.damage, list(seen.missing)) == (None, Damage.INCOMPLETE, [last])
    known = (await fresh.heads([attic.id]))[attic.id]
    assert (known.head, list(known.missing)) == (HEAD, [last])
    await ours.mend_roster()
    seen = (await theirs.heads([attic.id]))[attic.id]
    assert (seen.head, list(seen.missing)) == (HEAD, [])
    assert laptop.space.roster.is_member(attic.id)


@pytest.mark.parametrize("began_anew", [False, True])
async def test_parts_outlive_the_epoch_in_which_they_were_left(
    two: tuple[Device, Device],
    make: MakeDevice,
    open_relay: Open,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    began_anew: bool,  # noqa: FBT001 - a case
) -> None:
    """They stay as they are, and the head of the new epoch opens them: for whoever is let in later, too."""
    monkeypatch.setattr(relay_roster, "INLINE_BYTES", 100)
    monkeypatch.setattr(relay_roster, "PART_BYTES", 100)
    desk, laptop = two
    attic, late = make("attic"), make("late")
    await desk.spaces.admit(desk.space, attic.spaces.card())
    await desk.tell(laptop)
    ours, theirs = await open_relay(desk), await open_relay(laptop)
    tag = await ours.put_head(HEAD, None)
    before = {path: path.read_bytes() for path in objects(folder)}
    await desk.spaces.remove(desk.space, attic.id)
    await desk.spaces.admit(desk.space, late.spaces.card())
    await late.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    if began_anew:
        ours = await open_relay(desk)
    assert await ours.put_head(HEAD, tag)
    assert sum(path.read_bytes() != data for path, data in before.items()) == 1  # the head
    for reader in (theirs, await open_relay(late)):
        assert list((await reader.heads([desk.id]))[desk.id].missing) == []


async def test_parts_are_left_again_with_a_head_where_none_is(
    two: tuple[Device, Device], open_relay: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay lost everything, and the daemon ran on."""
    monkeypatch.setattr(relay_roster, "INLINE_BYTES", 100)
    ours, theirs = await open_relay(two[0]), await open_relay(two[1])
    await ours.put_head(HEAD, None)
    for path in objects(folder):
        path.unlink()
    await ours.put_head(HEAD, None)
    seen = (await theirs.heads([two[0].id]))[two[0].id]
    assert (seen.head, list(seen.missing)) == (HEAD, [])


async def test_parts_are_left_again_with_a_head_over_one_that_we_did_not_leave(
    two: tuple[Device, Device], open_relay: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some backup of the relay was put back, and what is there instead of a part is of no use."""
    monkeypatch.setattr(relay_roster, "INLINE_BYTES", 100)
    ours, theirs = await open_relay(two[0]), await open_relay(two[1])
    await ours.put_head(HEAD, None)
    for path in objects(folder):
        path.write_bytes(b"of an earlier time")
    tags = await ours.tags([two[0].id])
    assert await ours.put_head(HEAD, tags[two[0].id])
    seen = (await theirs.heads([two[0].id]))[two[0].id]
    assert (seen.head, list(seen.missing)) == (HEAD, [])
