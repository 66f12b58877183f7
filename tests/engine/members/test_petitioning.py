"""What lies where a petition would lie, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from peerd import identity
from peerd.core.roster import epochs, tickets
from peerd.core.stored import USED, WITHDRAWN
from peerd.engine.members import petitioning
from peerd.engine.members.petitioning import Petitioning
from peerd.engine.relay.keys import SpaceKeys
from peerd.engine.relay.sealed_relay import SealedRelay
from peerd.engine.relay.views import petition_state
from peerd.errors import RelayTrouble
from peerd.protocol.control.relays import RelaySync
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay.courier_steps import SeenHead
from peerd.relay import sealing
from tests.engine.conftest import Device, MakeDevice, Until
from tests.engine.relay.test_relaying import arrives
from tests.engine.relay_scene import Relayed, new_stick, objects


@pytest.fixture
async def inviter(desk: Device, tmp_path: Path) -> AsyncIterator[Relayed]:
    folder = new_stick(tmp_path)
    one = await Relayed(desk, folder).start()
    yield one
    await one.stop()


def _place(inviter: Relayed) -> str:
    """Where the petition of the only ticket lies."""
    space = inviter.device.space
    (ticket,) = tickets.open_tickets(space.roster, 0)
    return relay_names.ticket_name(SpaceKeys(space, inviter.device.spaces).names(), ticket)


async def test_rubbish_where_a_petition_would_lie_lets_nobody_in(
    inviter: Relayed, make: MakeDevice, until: Until
) -> None:
    """It is removed, and whoever asks in the right way is let in after it."""
    await inviter.store.prepare()
    file, code, _ = await inviter.files.invite(inviter.device.space, 7)
    name = _place(inviter)
    await inviter.store.create({name: b"\x01" + bytes(5000)})
    guest = await Relayed(make("attic"), inviter.folder).start()
    await guest.files.ask(file, code, None)
    await guest.relays.look_again()
    await until(lambda: inviter.device.space.roster.is_member(guest.device.id))
    await until(lambda: guest.device.space.petition is None)
    assert len(inviter.device.space.roster.members) == 2
    await guest.stop()


async def test_who_asks_with_a_clock_that_is_ahead_asks_again_when_it_is_right(
    inviter: Relayed, make: MakeDevice, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells it that the clock was set; until then nothing is left on the relay."""
    monkeypatch.setattr(petitioning, "LOOK_S", (0.01, 0.02))
    file, code, _ = await inviter.files.invite(inviter.device.space, 7)
    guest = Relayed(make("attic"), inviter.folder)
    space = await guest.files.ask(file, code, None)
    petition = space.petition
    assert petition is not None
    space.petition = replace(petition, expires_ms=1)
    await guest.start()
    await guest.relays.sync(RelaySync())
    assert "create" not in guest.store.calls
    space.petition = petition
    await until(lambda: space.roster.is_member(guest.device.id))
    await guest.stop()


async def test_who_was_let_in_in_time_hears_of_it_after_the_invitation_has_expired(
    inviter: Relayed, make: MakeDevice
) -> None:
    """It was off meanwhile, and the answer is cleared away by then; the heads of the members tell it."""
    desk = inviter.device
    await desk.put("milk", {"n": 1})
    file, code, _ = await inviter.files.invite(desk.space, 7)
    guest = await Relayed(make("attic"), inviter.folder).start()
    petition = (await guest.files.ask(file, code, None)).petition
    assert petition is not None
    await guest.relays.look_again()
    await guest.relays.sync(RelaySync())
    await guest.stop()
    await inviter.relays.sync(RelaySync())
    assert desk.space.roster.is_member(guest.device.id)
    await inviter.store.delete(petition.answers[:1])
    await guest.device.space.ask(replace(petition, expires_ms=1))
    again = await Relayed(guest.device, inviter.folder).start()
    await arrives(guest.device, "milk")
    assert guest.device.space.petition is None
    await again.stop()


async def test_who_has_a_file_that_is_withdrawn_does_not_come_by_the_place_of_another(
    inviter: Relayed, make: MakeDevice
) -> None:
    """The roster in a file tells under what the petitions of other files are sealed."""
    desk, attic = inviter.device, make("attic")
    await inviter.files.invite(desk.space, 7, "member")
    (leaked, ticket_of_leaked) = next(iter(tickets.open_tickets(desk.space.roster, 0).items()))
    private = next(one for one in inviter.ticket_keys.made if identity.public_key_of(one) == ticket_of_leaked.key)
    await inviter.files.withdraw(desk.space, leaked.hex())
    await inviter.files.invite(desk.space, 7, "admin")
    name = _place(inviter)
    (other,) = tickets.open_tickets(desk.space.roster, 0).values()
    asked = tickets.petition(
        desk.space.id,
        leaked,
        attic.spaces.card(),
        by_ticket=lambda told: identity.sign_with(private, told),
        by_device=attic.keys.sign,
    )
    names_key = SpaceKeys(desk.space, desk.spaces).names()
    keys = epochs.relay_keys(desk.space.id, tickets.petition_secret(desk.space.id, names_key, other.key))
    await inviter.store.prepare()
    await inviter.store.create({name: sealing.seal_object(name, asked, keys, bytes(range(24)))})
    await inviter.relays.sync(RelaySync())
    assert not await inviter.store.lookup([name], contents=False)
    assert not desk.space.roster.is_member(attic.id)


async def test_a_key_to_which_nothing_can_be_sealed_keeps_nobody_from_being_let_in(
    inviter: Relayed, make: MakeDevice, until: Until
) -> None:
    """Whoever comes with one can read nothing; but all others go on."""
    desk, attic = inviter.device, make("attic")
    await desk.spaces.renew_epoch(desk.space)
    names_key = SpaceKeys(desk.space, desk.spaces).names()
    await inviter.files.invite(desk.space, 7)
    ((ticket, stated),) = tickets.open_tickets(desk.space.roster, 0).items()
    (private,) = inviter.ticket_keys.made
    asked = tickets.petition(
        desk.space.id,
        ticket,
        replace(attic.spaces.card(), sealing_key=bytes(32)),
        by_ticket=lambda told: identity.sign_with(private, told),
        by_device=attic.keys.sign,
    )
    keys = epochs.relay_keys(desk.space.id, tickets.petition_secret(desk.space.id, names_key, stated.key))
    await inviter.store.prepare()
    await inviter.store.create({(name := _place(inviter)): sealing.seal_object(name, asked, keys, bytes(range(24)))})
    await inviter.relays.sync(RelaySync())
    file, code, _ = await inviter.files.invite(desk.space, 7)
    guest = await Relayed(make("cellar"), inviter.folder).start()
    await guest.files.ask(file, code, None)
    await guest.relays.look_again()
    await until(lambda: guest.device.space.petition is None)
    await guest.stop()


async def test_a_petition_that_was_left_again_does_not_stay(inviter: Relayed, make: MakeDevice, until: Until) -> None:
    """The guest looks once more between being let in and reading so."""
    file, code, _ = await inviter.files.invite(inviter.device.space, 7)
    name = _place(inviter)
    guest = await Relayed(make("attic"), inviter.folder).start()
    await guest.files.ask(file, code, None)
    petition = guest.device.space.petition
    assert petition is not None
    await guest.relays.look_again()
    await guest.relays.sync(RelaySync())
    await guest.stop()
    await inviter.relays.sync(RelaySync())
    assert not await inviter.store.lookup([name], contents=False)
    await inviter.store.create({name: petition.sealed})
    guest = await Relayed(guest.device, inviter.folder).start()
    await until(lambda: guest.device.space.petition is None)
    gone = {name, petition.answers[0]}
    await until(lambda: gone.isdisjoint(path.name for path in objects(inviter.folder)))
    await guest.stop()


async def test_who_was_removed_by_one_that_was_removed_itself_hears_of_it(
    inviter: Relayed, make: MakeDevice, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attic has heard of the laptop's removal alone, which is void, and meets nobody but on the relay."""
    monkeypatch.setattr(petitioning, "LOOK_S", (0.01, 0.02))
    desk, laptop, attic = inviter.device, make("laptop"), make("attic")
    await desk.admit(laptop, attic)
    await laptop.spaces.remove(laptop.space, attic.id)
    await laptop.tell(attic)
    relayed = await Relayed(attic, inviter.folder).start()
    await relayed.relays.sync(RelaySync())
    (view,) = relayed.relays.views().relays
    assert (view.state, view.code) == ("trouble", "removed")
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.put("milk", {"n": 1})
    await until(lambda: attic.clock_now() == desk.clock_now())
    await attic.put("bread", {"n": 1})
    await until(lambda: attic.clock_now() == desk.clock_now())
    assert attic.space.roster.members.keys() == desk.space.roster.members.keys() == {desk.id, attic.id}
    await relayed.stop()


async def test_who_is_out_reads_heads_that_changed_and_looks_less_and_less(
    inviter: Relayed, make: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, attic = inviter.device, make("attic")
    await desk.admit(attic)
    await inviter.relays.sync(RelaySync())
    await desk.spaces.remove(desk.space, attic.id)
    await desk.tell(attic)
    await inviter.relays.sync(RelaySync())
    read: list[list[bytes]] = []
    heads = SealedRelay.heads

    async def counted(sealed: SealedRelay, devices: Sequence[bytes]) -> dict[bytes, SeenHead]:
        read.append(list(devices))
        return await heads(sealed, devices)

    monkeypatch.setattr(SealedRelay, "heads", counted)
    relayed = await Relayed(attic, inviter.folder).start()
    await relayed.relays.sync(RelaySync())
    await relayed.relays.sync(RelaySync())
    assert read == [[desk.id]]
    await desk.put("milk", {"n": 1})
    await inviter.relays.sync(RelaySync())
    await relayed.relays.sync(RelaySync())
    assert read == [[desk.id]] * 2
    (one,) = relayed.relays._petitioning.values()
    pauses_s = [one._less_and_less() for _ in range(20)]
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[0] < pauses_s[-1] / 1000 <= petitioning.LONGEST_S / 1000
    await relayed.stop()


@pytest.mark.parametrize("again", [True, False])
async def test_who_was_let_in_by_an_admin_that_died_hears_of_it(
    inviter: Relayed,
    make: MakeDevice,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    again: bool,  # noqa: FBT001 - a case
) -> None:
    """From the same admin after a restart, or from another of whom the file could not know."""
    desk = inviter.device
    file, code, _ = await inviter.files.invite(desk.space, 7)
    cellar = make("cellar")
    await desk.admit(cellar)
    guest = await Relayed(make("attic"), inviter.folder).start()
    await guest.files.ask(file, code, None)
    petition = guest.device.space.petition
    assert petition is not None
    await guest.device.space.ask(replace(petition, answers=petition.answers[:1]))  # the desk's head tells it nothing
    await guest.relays.look_again()
    with monkeypatch.context() as dying:
        dying.setattr(Petitioning, "_leave_answer", _die)
        await until(lambda: desk.space.roster.is_member(guest.device.id))
        await inviter.stop()
    await desk.tell(cellar)
    assert not guest.device.space.roster.is_member(guest.device.id)
    other = await Relayed(desk if again else cellar, inviter.folder).start()
    await until(lambda: guest.device.space.petition is None)
    assert guest.device.space.roster.is_member(guest.device.id)
    await other.stop()
    await guest.stop()


async def _die(*_: object) -> None:
    raise RelayTrouble("the answer got lost", code="relay-unreachable")


@pytest.mark.parametrize("heard", [True, False])
async def test_a_second_device_with_the_same_file_hears_that_it_was_used(
    inviter: Relayed,
    make: MakeDevice,
    until: Until,
    heard: bool,  # noqa: FBT001 - a case
) -> None:
    """Also while the first one may not have heard yet that it was let in, which hears it all the same. The second is
    told nothing else, and leaves nothing on the relay.
    """
    desk = inviter.device
    file, code, _ = await inviter.files.invite(desk.space, 7)
    first = await Relayed(make("attic"), inviter.folder).start()
    second = await Relayed(make("cellar"), inviter.folder).start()
    await first.files.ask(file, code, None)
    await first.relays.look_again()
    await first.relays.sync(RelaySync())
    if not heard:
        await first.stop()
    await inviter.relays.sync(RelaySync())
    assert desk.space.roster.is_member(first.device.id)
    if heard:
        await first.relays.sync(RelaySync())
        await first.device.put("milk", {"n": 1})
        await first.relays.sync(RelaySync())
        await arrives(desk, "milk")
    space = await second.files.ask(file, code, None)
    petition, known = space.petition, len(space.roster)
    assert petition is not None
    await second.relays.look_again()
    for one in (second, inviter, second):
        await one.relays.sync(RelaySync())
    assert not desk.space.roster.is_member(second.device.id)
    assert len(space.roster) == known
    assert space.petition is not None
    state, why, step = petition_state(space.petition, 0, ["stick"])
    assert (state, "another device has used" in why, "new one" in step) == ("removed", True, True)
    (view,) = second.relays.views().relays
    assert (view.state, view.code, view.reason, view.next_step) == ("trouble", "removed", why, step)
    left = {petition.name, petition.answers[0]}
    await until(lambda: left.isdisjoint(path.name for path in objects(inviter.folder)))
    if not heard:
        first = await Relayed(first.device, inviter.folder).start()
        for one in (first, inviter, first):
            await one.relays.sync(RelaySync())
    assert first.device.space.petition is None
    assert first.device.space.roster.is_member(first.device.id)
    await first.stop()
    await second.stop()


async def test_a_petition_that_was_answered_is_not_left_again(inviter: Relayed, make: MakeDevice, until: Until) -> None:
    """An admin that looked just then would answer it once more, to nobody."""
    desk = inviter.device
    file, code, _ = await inviter.files.invite(desk.space, 7)
    (ticket,) = tickets.open_tickets(desk.space.roster, 0)
    await inviter.files.withdraw(desk.space, ticket.hex())
    guest = Relayed(make("attic"), inviter.folder)
    await guest.files.ask(file, code, None)
    await guest.start()
    await guest.relays.sync(RelaySync())
    assert "create" in guest.store.calls
    await guest.stop()
    await inviter.relays.sync(RelaySync())
    again = await Relayed(guest.device, inviter.folder).start()
    await until(lambda: (petition := guest.device.space.petition) is not None and petition.is_spent)
    assert "lookup" in again.store.calls
    assert "create" not in again.store.calls
    await again.stop()


async def test_who_waits_hears_that_the_invitation_was_withdrawn(
    inviter: Relayed, make: MakeDevice, until: Until
) -> None:
    """Though its roster, the file's, cannot take in what was stated since; and it leaves nothing on the relay."""
    desk = inviter.device
    file, code, _ = await inviter.files.invite(desk.space, 7)
    guest = await Relayed(make("attic"), inviter.folder).start()
    await desk.admit(make("cellar"))
    (ticket,) = tickets.open_tickets(desk.space.roster, 0)
    await inviter.files.withdraw(desk.space, ticket.hex())
    space = await guest.files.ask(file, code, None)
    petition = space.petition
    assert petition is not None
    await guest.relays.look_again()
    for one in (guest, inviter, guest):
        await one.relays.sync(RelaySync())
    assert not desk.space.roster.is_member(guest.device.id)
    assert len(space.roster) < len(desk.space.roster) - 1  # who is in by now is not told
    assert space.petition is not None
    state, why, step = petition_state(space.petition, 0, ["stick"])
    assert (state, "withdrawn" in why, "new one" in step) == ("removed", True, True)
    (view,) = guest.relays.views().relays
    assert (view.state, view.code, view.reason, view.next_step) == ("trouble", "removed", why, step)
    left = {petition.name, petition.answers[0]}
    # An answer to what was asked just before this one was heard is cleared away at a later look.
    await until(lambda: left.isdisjoint(path.name for path in objects(inviter.folder)))
    await guest.stop()
    attic = await guest.device.reopen()
    again = await Relayed(attic, inviter.folder).start()
    await again.relays.sync(RelaySync())
    await until(lambda: left.isdisjoint(path.name for path in objects(inviter.folder)))
    assert attic.space.petition == space.petition
    await again.stop()


@pytest.mark.parametrize("why", [USED, WITHDRAWN])
async def test_who_waits_hears_it_from_an_admin_that_its_file_knows(
    inviter: Relayed,
    make: MakeDevice,
    why: int,
) -> None:
    """Whoever came to be one later leaves the petition to it: to the file that is nobody, however it withdrew it."""
    desk, cellar = inviter.device, make("cellar")
    file, code, _ = await inviter.files.invite(desk.space, 7)
    (ticket,) = tickets.open_tickets(desk.space.roster, 0)
    await desk.admit(cellar)
    later = Relayed(cellar, inviter.folder)
    if why == USED:
        await cellar.spaces.admit(cellar.space, make("shed").spaces.card(), ticket=ticket)
    else:
        await later.files.withdraw(cellar.space, ticket.hex())
    await inviter.stop()
    guest = await Relayed(make("attic"), inviter.folder).start()
    space = await guest.files.ask(file, code, None)
    await guest.relays.look_again()
    await later.start()
    await guest.relays.sync(RelaySync())
    petition = space.petition
    assert petition is not None
    for one in (later, guest, later):
        await one.relays.sync(RelaySync())
    assert space.petition == petition
    left = {path.name for path in objects(inviter.folder)}
    assert (petition.name in left, petition.answers[0] in left) == (True, False)
    await later.stop()
    await cellar.tell(desk)
    again = await Relayed(desk, inviter.folder).start()
    for one in (again, guest):
        await one.relays.sync(RelaySync())
    assert space.petition is not None
    assert space.petition.expires_ms == why
    assert not desk.space.roster.is_member(guest.device.id)
    await again.stop()
    await guest.stop()


async def test_nobody_comes_by_an_invitation_of_a_device_that_was_removed(inviter: Relayed, make: MakeDevice) -> None:
    """A thief has made one in time, and all know of it. Whoever waits with it is told that it is withdrawn."""
    desk, laptop = inviter.device, make("laptop")
    await desk.admit(laptop)
    thief = Relayed(laptop, inviter.folder)
    file, code, _ = await thief.files.invite(laptop.space, 7)
    await laptop.tell(desk)
    assert tickets.open_tickets(desk.space.roster, 0)
    await desk.spaces.remove(desk.space, laptop.id)
    guest = await Relayed(make("attic"), inviter.folder).start()
    space = await guest.files.ask(file, code, None)
    await guest.relays.look_again()
    for one in (guest, inviter, guest):
        await one.relays.sync(RelaySync())
    assert desk.space.roster.members.keys() == {desk.id}
    assert space.petition is not None
    assert space.petition.expires_ms == WITHDRAWN
    await guest.stop()


async def test_a_second_that_waits_with_a_withdrawn_invitation_hears_of_it_too(
    inviter: Relayed, make: MakeDevice
) -> None:
    """Where the answer for the first one lies still, which has gone."""
    file, code, _ = await inviter.files.invite(inviter.device.space, 7)
    (ticket,) = tickets.open_tickets(inviter.device.space.roster, 0)
    await inviter.files.withdraw(inviter.device.space, ticket.hex())
    first = Relayed(make("attic"), inviter.folder)
    gone = (await first.files.ask(file, code, None)).petition
    assert gone is not None
    await inviter.store.prepare()
    await inviter.store.create({gone.name: gone.sealed})
    await inviter.relays.sync(RelaySync())
    assert await inviter.store.lookup(gone.answers[:1], contents=False)
    second = await Relayed(make("cellar"), inviter.folder).start()
    space = await second.files.ask(file, code, None)
    await second.relays.look_again()
    for one in (second, inviter, second):
        await one.relays.sync(RelaySync())
    assert space.petition is not None
    assert space.petition.expires_ms == 0
    await second.stop()


async def test_who_is_let_in_by_one_that_had_not_heard_of_the_withdrawal_is_in(
    inviter: Relayed, make: MakeDevice, until: Until
) -> None:
    """Also where it was told of the withdrawal before."""
    desk, cellar = inviter.device, make("cellar")
    await desk.admit(cellar)
    file, code, _ = await inviter.files.invite(desk.space, 7)
    await desk.tell(cellar)
    other = Relayed(cellar, inviter.folder)
    (ticket,) = tickets.open_tickets(desk.space.roster, 0)
    await inviter.files.withdraw(desk.space, ticket.hex())
    guest = await Relayed(make("attic"), inviter.folder).start()
    space = await guest.files.ask(file, code, None)
    await guest.relays.look_again()
    for one in (guest, inviter, guest):
        await one.relays.sync(RelaySync())
    assert space.petition is not None
    assert space.petition.expires_ms == 0
    await inviter.stop()
    await cellar.spaces.admit(cellar.space, guest.device.spaces.card(), ticket=ticket)
    await other.start()
    await until(lambda: bool(other.relays.views().relays))
    await other.relays.sync(RelaySync())
    await guest.relays.sync(RelaySync())
    assert space.petition is None
    assert space.roster.is_member(guest.device.id)
    await other.stop()
    await guest.stop()


async def test_nobody_is_let_in_by_a_ticket_that_is_withdrawn_while_the_relay_answers(
    inviter: Relayed, make: MakeDevice
) -> None:
    desk = inviter.device
    file, code, _ = await inviter.files.invite(desk.space, 7)
    name = _place(inviter)
    (ticket,) = tickets.open_tickets(desk.space.roster, 0)
    guest = await Relayed(make("attic"), inviter.folder).start()
    await guest.files.ask(file, code, None)
    lookup = inviter.store.folder.lookup

    async def late(names: list[str], *, contents: bool) -> object:
        found = await lookup(names, contents=contents)
        if name in found and tickets.open_tickets(desk.space.roster, 0):
            await inviter.files.withdraw(desk.space, ticket.hex())
        return found

    inviter.store.folder.lookup = late  # type: ignore[assignment,method-assign]  # a hand at the folder
    await guest.relays.look_again()
    for one in (guest, inviter):
        await one.relays.sync(RelaySync())
    assert not tickets.open_tickets(desk.space.roster, 0)
    assert not desk.space.roster.is_member(guest.device.id)
    await guest.stop()


async def test_nothing_is_asked_of_the_relay_while_nobody_is_invited(inviter: Relayed, until: Until) -> None:
    """Where petitions would lie is looked at only while there is an open ticket."""
    await inviter.device.put("milk", {"n": 1})
    await until(lambda: inviter.relays.views().relays[0].state == "idle")
    await inviter.files.invite(inviter.device.space, 7)
    name = _place(inviter)
    looked: list[str] = []
    lookup = inviter.store.folder.lookup

    async def noting(names: list[str], *, contents: bool) -> object:
        looked.extend(names)
        return await lookup(names, contents=contents)

    inviter.store.folder.lookup = noting  # type: ignore[assignment,method-assign]  # an ear at the folder
    await until(lambda: name in looked)


async def test_a_sync_sees_to_petitions_too(inviter: Relayed, make: MakeDevice) -> None:
    """On the side that asks and on the side that answers; what was done is done when it answers."""
    file, code, _ = await inviter.files.invite(inviter.device.space, 7)
    guest = await Relayed(make("attic"), inviter.folder).start()
    await guest.files.ask(file, code, None)
    await guest.relays.look_again()
    await guest.relays.sync(RelaySync())
    await inviter.relays.sync(RelaySync())
    assert inviter.device.space.roster.is_member(guest.device.id)
    views = (await guest.relays.sync(RelaySync())).relays
    assert guest.device.space.petition is None
    assert [(view.state == "trouble", view.code) for view in views] == [(False, "")]
    await guest.stop()


async def test_a_folder_that_is_away_is_told_once(
    inviter: Relayed, until: Until, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    def told() -> list[str]:
        return [event["level"] for event in log_events() if event["event"] == "petitions not seen to"]

    await inviter.relays.sync(RelaySync())
    away = inviter.folder.with_name("away")
    inviter.folder.rename(away)
    await inviter.files.invite(inviter.device.space, 7)
    await until(lambda: bool(told()))
    for _ in range(2):
        await inviter.relays.sync(RelaySync())
    assert told() == ["warning", "debug", "debug"]
    away.rename(inviter.folder)
