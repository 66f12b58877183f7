"""Devices, streams and numbers on one side, names and sealed bytes on the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from peerd import identity
from peerd.core.origin import Announcement
from peerd.core.roster import compose, epochs
from peerd.core.roster.statements import Final, statement_id
from peerd.engine.relay import sealed_relay
from peerd.engine.relay.sealed_relay import SealedRelay
from peerd.protocol.relay.courier_steps import Damage, Delete
from peerd.protocol.relay.objects import Head, Segment
from tests.engine.conftest import Device, MakeDevice
from tests.engine.relay_scene import Sealed, new_stick, objects

STREAM, SNAPSHOT = b"s" * 16, b"p" * 16
HEAD = Head(counter=1, t_ms=5, stream=STREAM, next=1, chain=bytes(32))


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


async def test_a_head_is_found_by_whose_it_is_and_tells_the_roster(
    two: tuple[Device, Device], make: MakeDevice, open_relay: Open
) -> None:
    """The laptop has not heard of the attic, whose head it reads all the same: the roster comes along."""
    desk, laptop = two
    attic = make("attic")
    await desk.spaces.admit(desk.space, attic.spaces.card())
    await attic.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    theirs, ours = await open_relay(attic), await open_relay(laptop)
    tag = await theirs.put_head(HEAD, None)
    assert await ours.tags([attic.id, desk.id]) == {attic.id: tag}
    assert not laptop.space.roster.is_member(attic.id)
    (seen,) = (await ours.heads([attic.id, desk.id])).values()
    assert (seen.tag, seen.head, seen.damage) == (tag, HEAD, None)
    assert laptop.space.roster.is_member(attic.id)
    assert laptop.space.presence.peers[attic.id].seen_ms == 5


async def test_a_head_is_replaced_only_by_who_knows_its_tag(
    two: tuple[Device, Device], open_relay: Open, folder: Path
) -> None:
    relay = await open_relay(two[0])
    tag = await relay.put_head(HEAD, None)
    assert await relay.put_head(HEAD, None) is None
    assert await relay.put_head(HEAD, "another") is None
    assert await relay.put_head(HEAD, tag) not in {None, tag}


async def test_what_is_not_as_it_was_left_is_told_apart(
    two: tuple[Device, Device], open_relay: Open, folder: Path
) -> None:
    """Cut, signed by another member in somebody's name, or sealed for others."""
    desk, laptop = two
    ours, theirs = await open_relay(desk), await open_relay(laptop)
    await theirs.put_head(HEAD, None)
    (path,) = objects(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert (await ours.heads([laptop.id]))[laptop.id].damage is Damage.UNREADABLE
    path.unlink()
    forging = SealedRelay(desk.space, desk.spaces, ours._store, ours._sealing, _As(desk, laptop.id))
    await forging.put_head(HEAD, None)
    assert (await theirs.heads([laptop.id]))[laptop.id].damage is Damage.FORGED


async def test_who_was_removed_is_told_so_in_the_place_of_its_head(
    two: tuple[Device, Device], make: MakeDevice, open_relay: Open, folder: Path
) -> None:
    """With the removal and what its author knew: nothing of those who came after it. Nobody else can read it, and once
    is enough.
    """
    desk, laptop = two
    ours, theirs = await open_relay(desk), await open_relay(laptop)
    await theirs.put_head(HEAD, None)
    await ours.put_head(HEAD, None)
    sizes = sorted(path.stat().st_size for path in objects(folder))
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.spaces.admit(desk.space, make("attic").spaces.card())
    assert await ours.leave_farewell(laptop.id, 5)
    before = await theirs.tags([laptop.id])
    assert await ours.leave_farewell(laptop.id, 6)
    assert await theirs.tags([laptop.id]) == before
    assert sorted(path.stat().st_size for path in objects(folder)) == sizes
    (seen,) = (await theirs.heads([laptop.id])).values()
    assert seen.damage is Damage.FAREWELL
    roster = laptop.space.roster
    assert (roster.removed[laptop.id].by, list(roster.members)) == (desk.id, [desk.id])


async def test_who_did_not_look_between_two_removals_is_told_of_the_second(
    desk: Device, make: MakeDevice, open_relay: Open
) -> None:
    """What lies there of the first says nothing to who knows that it was let in again. The second removal ends the
    first admission, too, and is told of both, as its id is the smaller; that of the second admission is the larger.
    """
    laptop, space = make("laptop"), desk.space
    await _state(desk, _admission(desk, laptop), small=True)
    await laptop.spaces.adopt(space.id, "home", space.roster.statements)
    ours, theirs = await open_relay(desk), await open_relay(laptop)
    await _state(desk, _removal(desk, laptop), small=False)
    assert await ours.leave_farewell(laptop.id, 5)
    await _state(desk, _admission(desk, laptop), small=False)
    await desk.tell(laptop)
    await _state(desk, _removal(desk, laptop), small=True)
    assert await ours.leave_farewell(laptop.id, 6)
    tags = await theirs.tags([laptop.id])
    assert (await theirs.heads([laptop.id]))[laptop.id].damage is Damage.FAREWELL
    assert not laptop.space.roster.is_member(laptop.id)
    assert await ours.leave_farewell(laptop.id, 7)
    assert await theirs.tags([laptop.id]) == tags


def _admission(by: Device, whom: Device) -> Iterator[bytes]:
    """Statements of it with different ids."""
    space, card = by.space, whom.spaces.card()
    while True:  # the sealing is different each time
        wraps = {
            one: identity.seal(card.sealing_key, secret, epochs.wrap_info(space.id, one, whom.id))
            for one, secret in by.spaces.secrets(space).items()
        }
        yield compose.admit(space.roster, by.id, card, wraps=wraps)


def _removal(by: Device, whom: Device) -> Iterator[bytes]:
    """Likewise."""
    for number in count():
        finals = {number.to_bytes(16): Final(1, b"anything")}
        yield compose.remove(by.space.roster, by.id, whom.id, finals)


async def _state(device: Device, statements: Iterator[bytes], *, small: bool) -> None:
    """One of them whose id is in the lower, or the upper, half of all."""
    data = next(one for one in statements if (statement_id(one) < b"\x80") is small)
    await device.space.learn([compose.signed(data, device.keys.sign)])
    await device.spaces.renew_epoch(device.space)


async def test_who_was_let_in_again_meanwhile_is_not_told_that_it_was_removed(
    two: tuple[Device, Device], make: MakeDevice, open_relay: Open
) -> None:
    """The attic has heard of the removal only; the laptop's head tells it the rest."""
    desk, laptop = two
    attic = make("attic")
    await desk.admit(attic)
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.tell(attic)
    await desk.spaces.admit(desk.space, laptop.spaces.card())
    await desk.tell(laptop)
    theirs, relay = await open_relay(laptop), await open_relay(attic)
    await theirs.put_head(HEAD, None)
    assert not attic.space.roster.is_member(laptop.id)
    assert await relay.leave_farewell(laptop.id, 5)
    assert attic.space.roster.is_member(laptop.id)
    assert (await theirs.heads([laptop.id]))[laptop.id].head == HEAD


async def test_a_farewell_to_who_is_back_is_no_damage(two: tuple[Device, Device], open_relay: Open) -> None:
    """It stands there until the laptop looks. To who never went nobody says farewell."""
    desk, laptop = two
    ours, theirs = await open_relay(desk), await open_relay(laptop)
    await desk.spaces.remove(desk.space, laptop.id)
    assert await ours.leave_farewell(laptop.id, 5)
    assert (await ours.heads([laptop.id]))[laptop.id].damage is Damage.REMOVED
    await desk.spaces.admit(desk.space, laptop.spaces.card())
    (seen,) = (await ours.heads([laptop.id])).values()
    assert (seen.head, seen.damage) == (None, Damage.FAREWELL)
    name = ours._head_name(laptop.id)
    forging = SealedRelay(desk.space, desk.spaces, ours._store, ours._sealing, _As(laptop, desk.id))
    await ours._store.replace(name, forging._seal(name, HEAD, []), seen.tag)
    assert (await ours.heads([laptop.id]))[laptop.id].damage is Damage.FORGED
    await theirs._store.create({ours._head_name(desk.id): theirs._seal(ours._head_name(desk.id), HEAD, [])})
    assert (await theirs.heads([desk.id]))[desk.id].damage is Damage.FORGED


async def test_a_head_of_before_its_device_was_let_in_again_says_nothing_of_its_copy(
    two: tuple[Device, Device], open_relay: Open
) -> None:
    """It came back with an empty one. To itself that head says what it left."""
    desk, laptop = two
    ours, theirs = await open_relay(desk), await open_relay(laptop)
    tag = await theirs.put_head(HEAD, None)
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.spaces.admit(desk.space, laptop.spaces.card())
    (seen,) = (await ours.heads([laptop.id])).values()
    assert (seen.head, seen.damage) == (None, Damage.BEFORE)
    assert (await theirs.heads([laptop.id]))[laptop.id].head == HEAD
    await desk.tell(laptop)
    assert (await theirs.heads([laptop.id]))[laptop.id].head == HEAD
    await theirs.put_head(HEAD, tag)
    (seen,) = (await ours.heads([laptop.id])).values()
    assert (seen.head, seen.damage) == (HEAD, None)


async def test_of_a_removed_device_only_a_roster_is_heard_that_makes_it_a_member(
    two: tuple[Device, Device], make: MakeDevice, open_relay: Open
) -> None:
    """What it states afterwards is void and not even kept; the word of its own removal of whoever removed it is heard,
    as it is the elder.
    """
    desk, laptop = two
    attic = make("attic")
    await desk.admit(attic)
    await desk.tell(laptop)
    of_desk, of_laptop, ours = [await open_relay(one) for one in (desk, laptop, attic)]
    await laptop.spaces.remove(laptop.space, desk.id)
    await laptop.tell(attic)
    await desk.spaces.admit(desk.space, make("cellar").spaces.card())
    await of_desk.put_head(HEAD, None)
    before = attic.space.roster
    (seen,) = (await ours.heads([desk.id])).values()
    assert (seen.head, seen.damage) == (None, Damage.REMOVED)
    assert attic.space.roster == before
    assert attic.space.roster.pending == ()
    await desk.spaces.remove(desk.space, laptop.id)
    await of_desk.put_head(HEAD, seen.tag)
    (seen,) = (await ours.heads([desk.id])).values()
    assert (seen.head, seen.damage) == (HEAD, None)
    assert attic.space.roster.is_member(desk.id)
    await of_laptop.put_head(HEAD, None)
    (seen,) = (await ours.heads([laptop.id])).values()
    assert (seen.head, seen.damage) == (None, Damage.REMOVED)


async def test_nothing_is_learnt_of_what_a_removed_device_leaves_in_the_name_of_others(
    two: tuple[Device, Device], make: MakeDevice, open_relay: Open
) -> None:
    """It knows the names and to whom heads are sealed, and could fill every roster with what it states for nothing."""
    desk, laptop = two
    attic = make("attic")
    await desk.admit(attic)
    await desk.tell(laptop)
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.tell(attic)
    await laptop.spaces.admit(laptop.space, make("accomplice").spaces.card())
    ours, of_laptop = await open_relay(attic), await open_relay(laptop)
    before = attic.space.roster
    forging = SealedRelay(laptop.space, laptop.spaces, of_laptop._store, of_laptop._sealing, _As(laptop, desk.id))
    await forging.put_head(HEAD, None)
    name = of_laptop._head_name(attic.id)  # where a farewell would lie
    sealed = of_laptop._seal(name, await of_laptop._roster.put_into(HEAD), [attic.keys.sealing_public_key])
    await of_laptop._store.create({name: sealed})
    seen = await ours.heads([desk.id, attic.id])
    assert [seen[one].damage for one in (desk.id, attic.id)] == [Damage.FORGED, Damage.FAREWELL]
    assert attic.space.roster == before
    assert attic.space.roster.pending == ()


class _As:
    """The desk's keys under the laptop's id."""

    def __init__(self, device: Device, claimed: bytes) -> None:
        self.device = claimed
        self.public_key = device.keys.public_key
        self.sealing_public_key = device.keys.sealing_public_key
        self.sign = device.keys.sign
        self.open = device.keys.open


async def test_segments_are_there_once_and_for_all(two: tuple[Device, Device], open_relay: Open, folder: Path) -> None:
    """The same bytes again are success, others are not; what is not there is left out."""
    desk, laptop = two
    ours, theirs = await open_relay(desk), await open_relay(laptop)
    segment = Segment(previous=bytes(32), origins=[Announcement(desk.id, b"a" * 16, b"n" * 16)], runs=[])
    sealed = ours.seal_segment(STREAM, 1, segment)
    assert await ours.put_segment(STREAM, 1, sealed)
    assert await ours.put_segment(STREAM, 1, sealed)
    assert not await ours.put_segment(STREAM, 1, ours.seal_segment(STREAM, 1, segment))
    found = await theirs.segments([(desk.id, STREAM, 1), (desk.id, STREAM, 2)])
    assert list(found) == [(desk.id, STREAM, 1)]
    assert found[desk.id, STREAM, 1].sealed == sealed
    assert found[desk.id, STREAM, 1].damage is Damage.MALFORMED  # it opens, and a segment without runs is none
    assert await theirs.segments_there(STREAM, [1, 2]) == [1]
    await ours.delete(Delete([(STREAM, 1)], [], [desk.id]))
    assert await theirs.segments_there(STREAM, [1, 2]) == []


async def test_parts_of_a_snapshot_are_opened_or_not_there(
    two: tuple[Device, Device], open_relay: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_relay, "LOOKUP_NAMES", 2)
    desk, laptop = two
    ours, theirs = await open_relay(desk), await open_relay(laptop)
    (sealed, *_) = await ours.put_parts({(SNAPSHOT, number): b"part %d" % number for number in range(3)})
    found = await theirs.parts(SNAPSHOT, [0, 2, 3])
    assert {number: plain for number, (plain, _) in found.items()} == {0: b"part 0", 2: b"part 2"}
    assert found[0][1] == sealed
    assert await theirs.parts_there(SNAPSHOT, 3)
    assert not await theirs.parts_there(SNAPSHOT, 4)
