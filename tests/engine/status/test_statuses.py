"""Every state has a cause, a culprit and a next step."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from peerd.core.device_id import format_device_id
from peerd.core.stored import StoredPeer
from peerd.engine.links import inbound, turns
from peerd.engine.links.peer_book import Trouble
from peerd.errors import DiskFull, LinkLost, StoreDamaged, UserError
from peerd.protocol import wanting
from peerd.protocol.control.reports import PeerStatus
from peerd.protocol.messages import SUBPROTOCOL as SYNC
from peerd.protocol.messages import Entries, Notice, RosterMessage, Summary, Want
from tests.engine.conftest import Pipe

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Hands, MakeDevice, Until, Wire

Two = tuple["Device", "Device"]

OTHER = b"o" * 32


def peer(of: Device, who: Device) -> PeerStatus:
    return next(one for one in of.statuses.peers.of(of.space) if one.device == format_device_id(who.id))


@pytest.fixture
async def linked(two: Two, wire: Wire, until: Until) -> Two:
    """Two members with a link, in sync."""
    desk, laptop = two
    wire.connect(desk, laptop)
    await until(lambda: peer(desk, laptop).state == peer(laptop, desk).state == "in sync")
    return two


# --- without a link -------------------------------------------------------------------------------------


async def test_a_space_without_other_members_is_alone(desk: Device) -> None:
    view = await desk.statuses.spaces.view(desk.space)
    assert (view.state, view.reason, view.peers) == ("alone", "", [])
    assert "peerctl invite" in view.next_step
    assert desk.statuses.health().converged
    assert (await desk.statuses.status()).device.state == "running"


async def test_a_member_that_was_never_here_is_said_to_be_so(two: Two) -> None:
    """Its join may have failed. Who let us in was there, linked or not."""
    desk, laptop = two
    assert (peer(desk, laptop).state, peer(desk, laptop).reason) == ("offline", "admitted, never seen")
    assert "invite it again" in peer(desk, laptop).next_step
    assert "not found" in peer(laptop, desk).reason


async def test_a_member_that_another_one_let_in_may_have_come_without_our_seeing_it(two: Two, make: MakeDevice) -> None:
    """As over a relay that we do not have: nobody is told to remove it."""
    desk, laptop = two
    attic = make("attic")
    await desk.spaces.admit(desk.space, attic.spaces.card())
    await desk.tell(laptop)
    assert peer(desk, attic).reason == "admitted, never seen"
    there = peer(laptop, attic)
    assert (there.state, there.reason) == ("offline", "let in by another member, never seen here")
    assert "the device that let it in" in there.next_step
    assert "remove" not in there.next_step
    views = {one.name: one.state for one in (await laptop.statuses.spaces.members(laptop.space)).members}
    assert views["attic"] == there.reason


async def test_a_member_that_dialled_us_and_left_no_address_is_waited_for(two: Two) -> None:
    """After a restart, say: there is nothing to switch on here, it comes by itself."""
    desk, laptop = two
    desk.space.presence.note_seen(laptop.id)
    assert "it dials us" in peer(desk, laptop).reason
    assert "network.peers" in peer(desk, laptop).next_step
    (view,) = desk.statuses.peers.everybody().peers
    assert "it dials us" in view.reason


async def test_a_member_that_was_just_sighted_is_being_dialled(two: Two, clock: Hands) -> None:
    """As right after joining: it answered a moment ago. What comes of it is known soon."""
    desk, laptop = two
    laptop.book.sighted(desk.id, [desk.address])
    assert (peer(laptop, desk).state, peer(laptop, desk).reason) == ("connecting", "dialling it")
    (view,) = laptop.statuses.peers.everybody().peers
    assert (view.reason, view.next_step) == ("dialling it", "")
    clock.pass_s(11)
    assert (peer(laptop, desk).state, "not found" in peer(laptop, desk).reason) == ("offline", True)


async def test_a_member_that_cannot_be_seen_is_not_found(two: Two) -> None:
    desk, laptop = two
    status = peer(laptop, desk)
    assert (status.state, status.name, status.behind) == ("offline", "desk", None)
    assert "not found" in status.reason
    assert "network.peers" in status.next_step
    assert status.since_ms == laptop.clock.wall_ms()
    assert (await laptop.statuses.spaces.view(laptop.space)).state == "offline"
    assert (await laptop.statuses.status()).device.state == "running", "a laptop may be closed"
    health = laptop.statuses.health()
    assert (health.live, health.ready, health.converged, health.reason) == (
        True,
        True,
        False,
        "home: desk is offline",
    )


async def test_it_is_known_how_much_an_absent_member_lacks(linked: Two, until: Until) -> None:
    desk, laptop = linked
    await desk.put("a", {})
    await until(lambda: peer(desk, laptop).ahead == 0 and desk.space.presence.peers[laptop.id].acks == desk.clock_now())
    await desk.switchboard.stop()
    await until(lambda: not desk.switchboard.links)
    await desk.put("b", {})
    await desk.put("c", {})
    assert peer(desk, laptop).ahead == 2
    again = await desk.reopen()
    assert peer(again, laptop).ahead == 2, "and after a restart"


async def test_who_went_before_anything_was_written_lacks_all_of_it(linked: Two, until: Until) -> None:
    desk, laptop = linked
    await desk.switchboard.stop()
    await until(lambda: not desk.switchboard.links)
    assert peer(desk, laptop).ahead == 0
    await desk.put("a", {})
    assert peer(desk, laptop).ahead == 1


async def test_who_knows_of_its_removal_by_a_refusal_only_says_who_says_so(two: Two, wire: Wire) -> None:
    desk, laptop = two
    wire.refusals[laptop.address] = LinkLost("it refused the link", code="removed")
    await desk.dialing._dial(laptop.id, laptop.address)
    assert peer(desk, laptop).reason == "laptop says that this device was removed"
    view = await desk.statuses.spaces.view(desk.space)
    assert (view.state, view.reason) == ("degraded", "laptop says that this device was removed")
    assert "peerctl space forget home" in view.next_step


async def test_who_is_let_in_again_is_told_no_refusal_of_before(two: Two, wire: Wire) -> None:
    """Nobody who refused it has heard of the new admission, until it is dialled again."""
    desk, laptop = two
    desk.dialing._note_admissions()
    wire.refusals[laptop.address] = LinkLost("it refused the link", code="removed")
    await desk.dialing._dial(laptop.id, laptop.address)
    await laptop.spaces.remove(laptop.space, desk.id)
    desk.dialing._note_admissions()
    assert peer(desk, laptop).state == "refused", "of a change of members that is not about us it is true still"
    await laptop.spaces.admit(laptop.space, desk.spaces.card())
    await desk.spaces.adopt(laptop.space.id, "home", laptop.space.roster.statements)
    desk.dialing._note_admissions()
    assert (peer(desk, laptop).state, peer(desk, laptop).reason) != (
        "refused",
        "laptop says that this device was removed",
    )
    view = await desk.statuses.spaces.view(desk.space)
    assert (view.state, view.reason) == ("offline", "")
    await desk.dialing._dial(laptop.id, laptop.address)
    assert peer(desk, laptop).state == "refused", "it still does not know"


async def test_a_member_that_dials_us_and_will_not_have_us_is_told_as_one_that_refuses(
    two: Two, wire: Wire, until: Until
) -> None:
    desk, laptop = two
    desk.dialing._note_admissions()
    far, _ = Pipe.pair(laptop.id, desk.id, desk.address, SYNC)

    async def receive() -> bytes:
        raise LinkLost("It ended the link: this device was removed there.", code="removed")

    far.theirs, far.dialed, far.receive = laptop.id, False, receive  # type: ignore[method-assign] # what it hears
    await wire.spawn(desk.switchboard.run_link(far))
    await until(lambda: peer(desk, laptop).state == "refused")
    desk.dialing.refresh()
    await asyncio.sleep(0.5)
    assert peer(desk, laptop).reason == "laptop says that this device was removed", "also where it has no address"
    assert "network.peers" in peer(desk, laptop).next_step
    await desk.dialing.stop()


async def test_no_member_is_told_that_it_was_removed_because_a_copy_is_out_of_order(two: Two, wire: Wire) -> None:
    """Who was removed is."""
    desk, laptop = two
    near, _ = Pipe.pair(desk.id, laptop.id, laptop.address, SYNC)
    desk.space.trouble = "needs-newer", "an entry of format 2 needs a newer peerd"
    far = near.other
    assert far is not None
    wire.spawn(desk.switchboard.run_link(near))
    await laptop.switchboard.run_link(far)
    assert near.closed == (4401, "unknown-device")
    await desk.spaces.remove(desk.space, laptop.id)
    assert desk.switchboard.turned_away(laptop.id) == (4403, "removed")


@pytest.mark.parametrize("code", ["unknown-device", "version"])
async def test_a_refusal_says_by_whom_and_why(two: Two, wire: Wire, code: str) -> None:
    desk, laptop = two
    wire.refusals[laptop.address] = LinkLost(f"it says {code}", code=code, next_step="Do this.")
    await desk.dialing._dial(laptop.id, laptop.address)
    status = peer(desk, laptop)
    assert (status.state, status.reason, status.next_step) == ("refused", f"it says {code}", "Do this.")
    view = await desk.statuses.spaces.view(desk.space)
    assert (view.state, view.reason, view.next_step) == ("degraded", f"laptop: it says {code}", "Do this.")
    device = (await desk.statuses.status()).device
    assert (device.state, device.reason, device.next_step) == ("degraded", f"home: laptop: it says {code}", "Do this.")
    assert desk.statuses.health().reason == "home: laptop is refused"


@pytest.mark.parametrize("itself", [True, False])
async def test_a_list_of_addresses_may_name_this_device_itself(two: Two, wire: Wire, *, itself: bool) -> None:
    desk, _ = two
    refusal = LinkLost("it is another device", code="wrong-device")
    refusal.theirs = desk.id if itself else bytes(32)
    wire.refusals["192.0.2.5", 7337] = refusal
    await desk.dialing._identify(("192.0.2.5", 7337))
    assert bool(desk.dialing.astray()) is not itself


async def test_who_does_not_know_this_device_is_where_to_look(two: Two, wire: Wire) -> None:
    desk, laptop = two
    wire.refusals[laptop.address] = LinkLost("it says no", code="unknown-device")
    await desk.dialing._dial(laptop.id, laptop.address)
    assert "`peerctl status` there" in peer(desk, laptop).next_step


async def test_an_address_that_leads_nowhere_is_no_refusal(two: Two, wire: Wire) -> None:
    desk, laptop = two
    wire.refusals[laptop.address] = LinkLost("no route to it", code="no-route")
    await desk.dialing._dial(laptop.id, laptop.address)
    assert (peer(desk, laptop).state, peer(desk, laptop).reason) == ("offline", "no route to it")


# --- with a link ----------------------------------------------------------------------------------------


async def test_all_is_well(linked: Two) -> None:
    desk, laptop = linked
    status = peer(desk, laptop)
    assert (status.state, status.reason, status.next_step, status.behind, status.ahead) == ("in sync", "", "", 0, 0)
    view = await desk.statuses.spaces.view(desk.space)
    assert (view.state, view.reason) == ("in sync", "")
    assert desk.statuses.health().converged
    assert desk.statuses.line() == "1 space, 1 peer linked"
    assert (await desk.statuses.status()).device.state == "running"


async def test_a_space_counts_what_it_holds(linked: Two, until: Until) -> None:
    desk, laptop = linked
    await desk.put("a", {"x": 1})
    await desk.park("b")
    await laptop.put("c", {})
    await until(lambda: desk.clock_now() == laptop.clock_now() and sum(desk.clock_now().values()) == 3)
    views = [await device.statuses.spaces.view(device.space) for device in linked]
    for view in views:
        assert (view.name, view.id, view.records, view.parked, view.conflicts) == ("home", desk.space.id.hex(), 2, 1, 0)
    assert views[0].digest == views[1].digest
    assert views[0].clock == views[1].clock == {origin.hex(): seq for origin, seq in desk.clock_now().items()}


@pytest.mark.parametrize(
    ("at", "reason"), [(RosterMessage, "exchanging the list of members"), (Summary, "comparing what both have")]
)
async def test_the_way_to_a_session_has_its_words(
    two: Two, wire: Wire, until: Until, at: type[object], reason: str
) -> None:
    desk, laptop = two
    near, _ = wire.connect(laptop, desk, stop_at=at)
    await until(lambda: peer(desk, laptop).reason == reason)
    assert peer(desk, laptop).state == "connecting"
    assert (await desk.statuses.spaces.view(desk.space)).state == "syncing"
    assert not desk.statuses.health().converged
    near.go_on()
    await until(lambda: peer(desk, laptop).state == "in sync")


async def test_what_they_have_and_we_lack_is_behind(two: Two, wire: Wire, until: Until) -> None:
    desk, laptop = two
    await laptop.put("a", {})
    await laptop.put("b", {})
    near, _ = wire.connect(desk, laptop, stop_at=Want)
    await until(lambda: peer(desk, laptop).state == "syncing")  # what we lack is known while we compare already
    assert (peer(desk, laptop).behind, peer(desk, laptop).reason, peer(desk, laptop).ahead) == (2, "", 0)
    assert (await desk.statuses.spaces.view(desk.space)).state == "syncing"
    assert not desk.statuses.health().converged
    near.go_on()
    await until(lambda: peer(desk, laptop).state == "in sync")


async def test_what_they_have_not_acknowledged_is_ahead(linked: Two, until: Until) -> None:
    desk, laptop = linked
    pipe: Pipe = desk.switchboard.links[laptop.id].link  # type: ignore[assignment] # it is one of ours
    pipe.flowing.clear()
    await desk.put("a", {})
    await desk.put("b", {})
    status = peer(desk, laptop)
    assert (status.state, status.behind, status.ahead) == ("syncing", 0, 2)
    pipe.go_on()
    await until(lambda: peer(desk, laptop).state == "in sync")


async def test_whoever_waits_for_its_turn_says_so(
    desk: Device, make: MakeDevice, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "FAR_BEHIND", 1)
    monkeypatch.setattr(wanting, "NEARLY", 1)
    laptop, tablet = make("laptop"), make("tablet")
    await desk.admit(laptop, tablet)
    await laptop.put("a", {})
    await laptop.tell(tablet)
    near, _ = wire.connect(laptop, desk, stop_at=Entries)
    await until(lambda: not near.flowing.is_set())
    wire.connect(tablet, desk)
    await until(lambda: "turn" in peer(desk, tablet).reason)
    assert (peer(desk, tablet).state, peer(desk, tablet).behind) == ("syncing", 1)
    near.go_on()
    await until(lambda: peer(desk, tablet).state == peer(desk, laptop).state == "in sync")


async def test_a_fork_blocks_on_both_sides(linked: Two, until: Until) -> None:
    desk, laptop = linked
    runner = desk.switchboard.links[laptop.id].sessions[desk.space.id]
    runner._perform(runner.machine.refuse("fork", "two histories"))
    await until(lambda: peer(laptop, desk).state == "blocked")
    assert peer(desk, laptop).state == "blocked"
    for device, other in ((desk, laptop), (laptop, desk)):
        assert peer(device, other).reason.startswith("two histories of one device")
        assert "Keep both running" in peer(device, other).next_step
        assert (await device.statuses.spaces.view(device.space)).state == "degraded"


async def test_who_needs_a_newer_peerd_is_told_on_its_own_side(linked: Two, until: Until) -> None:
    """What is to be done depends on the side."""
    desk, laptop = linked
    runner = desk.switchboard.links[laptop.id].sessions[desk.space.id]
    runner._perform(runner.machine.refuse("needs-newer", "an entry of format 2 needs a newer peerd here"))
    await until(lambda: peer(laptop, desk).state == "blocked")
    assert peer(desk, laptop).next_step == "Update peerd on this device."
    assert peer(laptop, desk).next_step == "Update peerd on that device."


async def test_a_full_disk_is_told_on_both_sides(linked: Two, until: Until) -> None:
    desk, laptop = linked
    runner = desk.switchboard.links[laptop.id].sessions[desk.space.id]
    runner.inbound.stalled = DiskFull("the disk is full", next_step="Make room.")
    laptop.switchboard.links[desk.id].sessions[desk.space.id].machine.notice = Notice(
        desk.space.id, "disk-full", "its disk is full"
    )
    assert (peer(desk, laptop).state, peer(laptop, desk).state) == ("blocked", "blocked")
    assert "the disk is full" in peer(desk, laptop).reason
    assert "its disk is full" in peer(laptop, desk).reason
    assert peer(desk, laptop).next_step == "Make room."
    assert peer(laptop, desk).next_step
    assert not desk.statuses.health().converged


async def test_copies_that_differ_are_called_diverged(linked: Two, until: Until) -> None:
    desk, laptop = linked
    digest = list(desk.space.copy.digest)
    digest[7] ^= 1
    desk.space.commits.state = replace(desk.space.copy, digest=type(desk.space.copy.digest)(digest))
    await laptop.put("a", {})
    await until(lambda: peer(laptop, desk).state == "diverged")
    assert "damaged" in peer(laptop, desk).reason
    assert "docs/" in peer(laptop, desk).next_step
    assert (await laptop.statuses.spaces.view(laptop.space)).state == "degraded"


async def test_runs_that_wait_for_others_are_counted(desk: Device, make: MakeDevice, wire: Wire, until: Until) -> None:
    laptop, tablet = make("laptop"), make("tablet")
    await desk.admit(laptop, tablet)
    await laptop.put("a", {})
    await laptop.tell(tablet)
    await tablet.put("b", {})
    run = (await tablet.space.store.runs_after(1, 1 << 20)).rows[0].run
    await desk.space.commits.take([at.announcement for at in tablet.space.copy.origins.values()], [run])
    wire.connect(desk, laptop, stop_at=Want)
    await until(lambda: peer(desk, laptop).reason == "1 run waits for what it depends on")
    assert peer(desk, laptop).behind == 1


@pytest.mark.parametrize(("seconds", "word"), [(300, "ahead"), (-300, "behind")])
async def test_a_clock_that_is_off_is_named(
    desk: Device, make: MakeDevice, wire: Wire, until: Until, seconds: int, word: str
) -> None:
    """It is no reason not to be in sync."""
    other = type(desk.clock)()
    other.pass_s(seconds)
    laptop = make("laptop", clock=other)
    await desk.admit(laptop)
    wire.connect(desk, laptop)
    await until(lambda: peer(desk, laptop).state == "in sync")
    assert peer(desk, laptop).reason == f"its clock and ours differ by 300 s (it is {word})"
    assert peer(desk, laptop).next_step
    assert (await desk.statuses.spaces.view(desk.space)).state == "in sync"


async def test_two_minutes_are_no_difference(desk: Device, make: MakeDevice, wire: Wire, until: Until) -> None:
    other = type(desk.clock)()
    other.pass_s(119)
    laptop = make("laptop", clock=other)
    await desk.admit(laptop)
    wire.connect(desk, laptop)
    await until(lambda: peer(desk, laptop).state == "in sync")
    assert peer(desk, laptop).reason == ""


async def test_a_linked_device_that_does_not_share_the_space_yet(linked: Two) -> None:
    desk, laptop = linked
    work = await desk.spaces.found("work")
    await desk.spaces.admit(work, laptop.spaces.card())
    (status,) = desk.statuses.peers.of(work)
    assert status.state == "connecting"
    assert "has not said that it shares this space" in status.reason
    assert "`peerctl status` there" in status.next_step, "where its copy failed"
    assert "invite it again" in status.next_step, "where it was forgotten"


# --- the device and its spaces --------------------------------------------------------------------------


async def test_a_pause_is_told_on_both_sides(linked: Two, until: Until) -> None:
    desk, laptop = linked
    await desk.service.pause()
    await until(lambda: not laptop.switchboard.links and not desk.switchboard.links)
    device = (await desk.statuses.status()).device
    assert (device.state, "resume" in device.next_step) == ("paused", True)
    assert peer(desk, laptop).state == "offline"
    assert peer(desk, laptop).reason == "links with other devices are paused here"
    (view,) = desk.statuses.peers.everybody().peers
    assert (view.reason, view.next_step) == (peer(desk, laptop).reason, peer(desk, laptop).next_step)
    assert "paused" in peer(laptop, desk).reason
    await desk.service.resume()
    assert (await desk.statuses.status()).device.state == "running"


async def test_a_device_that_was_removed_says_by_whom(two: Two) -> None:
    desk, laptop = two
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.tell(laptop)
    view = await laptop.statuses.spaces.view(laptop.space)
    assert view.state == "removed"
    assert view.reason.startswith("this device was removed from home by desk")
    assert "invite" in view.next_step
    assert "peerctl space forget home" in view.next_step
    assert [(one.reason, one.next_step) for one in view.peers] == [("", "")], "it is not the network"
    assert [(one.reason, one.next_step) for one in laptop.statuses.peers.everybody().peers] == [("", "")]
    assert (await laptop.statuses.status()).device.state == "degraded"
    assert not laptop.statuses.health().converged
    assert [one.state for one in (await laptop.statuses.spaces.members(laptop.space)).members] == ["offline", "removed"]


async def test_who_removed_this_device_and_is_linked_for_another_space_is_not_what_it_waits_for(
    two: Two, wire: Wire, until: Until
) -> None:
    desk, laptop = two
    wire.connect(desk, laptop)
    await until(lambda: peer(laptop, desk).state == "in sync")
    link = laptop.switchboard.links[desk.id]
    await desk.spaces.remove(desk.space, laptop.id)
    await until(lambda: not laptop.space.roster.is_member(laptop.id))
    laptop.switchboard.links[desk.id] = link  # as where they share another space
    link.sessions.pop(laptop.space.id, None)
    found = peer(laptop, desk)
    del laptop.switchboard.links[desk.id]
    assert (found.state, found.reason, found.next_step) == ("offline", "", "")


async def test_who_was_removed_from_one_of_two_spaces_is_told_of_it_on_the_link_of_the_other(
    two: Two, wire: Wire, until: Until
) -> None:
    """It was away when that happened, and has nobody else to hear it from. An admission ends it."""
    desk, laptop = two
    ours, theirs = desk.space, laptop.space
    work = await desk.spaces.found("work")
    await desk.spaces.admit(work, laptop.spaces.card())
    shared = await laptop.spaces.adopt(work.id, "work", work.roster.statements)
    await desk.spaces.remove(ours, laptop.id)
    wire.connect(desk, laptop)

    def told() -> tuple[str, str]:
        (one,) = laptop.statuses.peers.of(theirs)
        return one.state, one.reason

    await until(lambda: told() == ("refused", "desk says that this device was removed"))
    assert theirs.roster.is_member(laptop.id), "as far as it has heard"
    view = await laptop.statuses.spaces.view(theirs)
    assert (view.state, view.reason) == ("degraded", "desk says that this device was removed")
    assert "invite this device again" in view.next_step
    await until(lambda: [one.state for one in laptop.statuses.peers.of(shared)] == ["in sync"])

    await desk.spaces.admit(ours, laptop.spaces.card())
    await until(lambda: told()[0] != "refused")


async def test_a_device_that_removed_itself_says_that_it_left(two: Two) -> None:
    _, laptop = two
    await laptop.spaces.remove(laptop.space, laptop.id)
    view = await laptop.statuses.spaces.view(laptop.space)
    assert (view.state, view.reason) == ("removed", "this device has left home; its copy can be read but not written")


async def test_a_space_that_stopped_says_why(desk: Device) -> None:
    desk.space.trouble = "needs-newer", "an entry of format 2 needs a newer peerd"
    view = await desk.statuses.spaces.view(desk.space)
    assert (view.state, view.reason) == ("stopped", "an entry of format 2 needs a newer peerd")
    assert view.next_step == "Update peerd on this device."
    assert not desk.statuses.health().converged


async def test_a_database_that_cannot_be_opened_fails_alone(desk: Device) -> None:
    await desk.spaces.found("work")
    await desk.close()
    path = next(path for path in (desk.folder / "spaces").glob("*.db"))
    path.write_bytes(b"no database" * 1000)
    again = type(desk)("desk", desk.folder, desk.wire, desk.clock, threaded=False)
    await again.spaces.open_all()
    status = await again.statuses.status()
    assert len(again.spaces.by_id) == 1
    failed = next(view for view in status.spaces if view.state == "failed")
    assert failed.reason
    assert (status.device.state, failed.reason in status.device.reason) == ("degraded", True)
    health = again.statuses.health()
    assert (health.live, health.ready, health.converged) == (True, False, False)
    assert failed.reason in health.reason
    known = {space.name for space in again.spaces.by_id.values()}
    (gone,) = {"home", "work"} - known
    assert failed.name == gone
    with pytest.raises(StoreDamaged):
        again.spaces.named(gone)


async def test_a_link_that_a_damaged_database_ended_names_its_space(
    linked: Two, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next step is a command: the store does not know what its space is called."""
    desk, laptop = linked
    damaged = StoreDamaged("x.db is damaged", next_step="`peerctl space rebuild NAME`")

    async def met(*_: object, **__: object) -> None:
        raise damaged

    monkeypatch.setattr(type(desk.space), "is_damaged", property(lambda self: self is desk.space))
    monkeypatch.setattr(desk.space.commits, "take", met)
    await laptop.put("a", {})
    await until(lambda: desk.book.note(laptop.id).trouble)
    trouble = desk.book.note(laptop.id).trouble
    assert trouble is not None
    assert (trouble.text, trouble.next_step) == ("our own disk: x.db is damaged", "`peerctl space rebuild home`")


async def test_nobody_is_in_sync_with_a_copy_that_is_damaged(linked: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the link is there still, as nothing was said on it since."""
    desk, laptop = linked
    damaged = StoreDamaged("x.db is damaged", next_step="`peerctl space rebuild NAME`")
    monkeypatch.setattr(type(desk.space.store), "failure", property(lambda _: damaged))
    status = peer(desk, laptop)
    assert (status.state, status.reason, status.behind) == ("blocked", "our own copy is damaged", None)
    assert status.next_step == "`peerctl space rebuild home`"
    view = await desk.statuses.spaces.view(desk.space)
    assert (view.state, view.reason) == ("failed", "x.db is damaged")


async def test_a_damaged_database_whose_name_is_lost_is_found_by_whoever_looks_for_it(desk: Device) -> None:
    await desk.close()
    (path,) = (desk.folder / "spaces").glob("*.db")
    path.write_bytes(b"no database" * 1000)
    path.with_suffix(".name").unlink()
    again = type(desk)("desk", desk.folder, desk.wire, desk.clock, threaded=False)
    await again.spaces.open_all()
    (failed,) = (await again.statuses.status()).spaces
    with pytest.raises(UserError, match="no space 'home'") as refused:
        again.spaces.named("home")
    assert failed.name in refused.value.next_step


async def test_problems_of_the_edges_come_first(desk: Device) -> None:
    desk.statuses.problems = lambda: [("discovery does not work: no socket", "Set network.mdns.")]
    desk.statuses.restart_needed = ["device.name", "network.listen"]
    device = (await desk.statuses.status()).device
    assert (device.state, device.reason, device.next_step) == (
        "degraded", "discovery does not work: no socket", "Set network.mdns.",
    )  # fmt: skip


async def test_one_problem_of_the_device_does_not_hide_the_others(desk: Device) -> None:
    """Nor does a pause."""
    desk.statuses.problems = lambda: [("no socket", "Set network.mdns."), ("no descriptors", "Raise the limit.")]
    device = (await desk.statuses.status()).device
    assert device.reason == "no socket"
    assert [(one.reason, one.next_step) for one in device.further] == [("no descriptors", "Raise the limit.")]
    await desk.service.pause()
    device = (await desk.statuses.status()).device
    assert (device.state, [one.reason for one in device.further]) == ("paused", ["no socket", "no descriptors"])


async def test_settings_that_wait_for_a_restart_are_named(desk: Device) -> None:
    desk.statuses.restart_needed = ["device.name", "network.listen"]
    device = (await desk.statuses.status()).device
    assert device.reason == "settings wait for a restart: device.name, network.listen"
    assert device.next_step == "Restart peerd."


async def test_the_device_tells_who_it_is(desk: Device, clock: Hands) -> None:
    clock.pass_s(60)
    status = await desk.statuses.status()
    assert (status.version, status.device.name, status.device.id) == ("0", "desk", format_device_id(desk.id))
    assert status.since_ms == clock.wall_ms() - 60_000


async def test_spaces_come_by_name(desk: Device) -> None:
    await desk.spaces.found("attic")
    assert [view.name for view in (await desk.statuses.status()).spaces] == ["attic", "home"]
    assert desk.statuses.line() == "2 spaces, 0 peers linked"


# --- devices and members --------------------------------------------------------------------------------


async def test_a_linked_device_is_shown_with_its_addresses_and_spaces(linked: Two) -> None:
    desk, laptop = linked
    desk.book.sighted(laptop.id, [("fe80::1%eth0", 7337), ("192.0.2.7", 7338)])
    (view,) = desk.statuses.peers.everybody().peers
    assert (view.device, view.name, view.state, view.spaces) == (
        format_device_id(laptop.id), "laptop", "linked", ["home"],
    )  # fmt: skip
    assert view.addresses == ["[fe80::1%eth0]:7337", "192.0.2.7:7338"]
    assert (view.reason, view.version) == ("", "peerd test")
    assert view.since_ms == desk.clock.wall_ms()


async def test_a_device_that_is_away_is_shown_with_the_reason(two: Two) -> None:
    _, laptop = two
    (view,) = laptop.statuses.peers.everybody().peers
    assert (view.state, view.reason.startswith("not found")) == ("offline", True)
    assert view.next_step


async def test_members_are_listed_with_role_and_state(linked: Two, make: MakeDevice, until: Until) -> None:
    desk, laptop = linked
    reader = make("reader")
    await desk.spaces.admit(desk.space, reader.spaces.card(), "member")
    gone = make("gone")
    await desk.spaces.admit(desk.space, gone.spaces.card())
    await desk.spaces.remove(desk.space, gone.id)
    await until(lambda: peer(desk, laptop).state == "in sync")
    views = {one.name: one for one in (await desk.statuses.spaces.members(desk.space)).members}
    assert {name: (one.role, one.state, one.own) for name, one in views.items()} == {
        "desk": ("admin", "this device", True),
        "laptop": ("admin", "in sync", False),
        "reader": ("member", "admitted, never seen", False),
        "gone": ("", "removed", False),
    }
    assert views["laptop"].seen_ms == desk.clock.wall_ms()
    assert views["reader"].seen_ms is None
    desk.space.presence.peers[desk.id] = StoredPeer(desk.id, seen_ms=5)  # others know it, and told it of itself
    (own,) = [one for one in (await desk.statuses.spaces.members(desk.space)).members if one.own]
    assert own.seen_ms is None


async def test_when_a_device_went_is_known(linked: Two, clock: Hands, until: Until) -> None:
    desk, laptop = linked
    clock.pass_s(100)
    pipe: Pipe = desk.switchboard.links[laptop.id].link  # type: ignore[assignment] # it is one of ours
    await pipe.close(1000, "cut")
    await until(lambda: peer(desk, laptop).state == "offline")
    assert peer(desk, laptop).since_ms == clock.wall_ms()
    clock.pass_s(100)
    assert peer(desk, laptop).since_ms == clock.wall_ms() - 100_000
    assert peer(desk, laptop).reason


async def test_since_when_a_space_is_in_sync_or_not_is_known(
    linked: Two, clock: Hands, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the space and the peer, whatever the age of the link; it stays while nothing changes."""
    desk, laptop = linked
    opened_ms = desk.switchboard.links[laptop.id].opened_ms
    assert peer(desk, laptop).since_ms == clock.wall_ms()
    clock.pass_s(100)
    assert peer(desk, laptop).since_ms == clock.wall_ms() - 100_000
    monkeypatch.setattr(inbound, "FULL_DISK_S", 0.01)
    with monkeypatch.context() as full:
        full.setattr(laptop.space.store, "room_bytes", lambda: (0, 1 << 40))
        await desk.put("a", {})
        await until(lambda: peer(laptop, desk).state == peer(desk, laptop).state == "blocked")
        stuck_ms = clock.wall_ms()
        assert peer(laptop, desk).since_ms == peer(desk, laptop).since_ms == stuck_ms
        clock.pass_s(100)
        assert peer(desk, laptop).since_ms == stuck_ms
    await until(lambda: peer(laptop, desk).state == peer(desk, laptop).state == "in sync")
    assert peer(laptop, desk).since_ms == peer(desk, laptop).since_ms == clock.wall_ms()
    assert desk.switchboard.links[laptop.id].opened_ms == opened_ms, "the same link all the time"


async def test_two_machines_with_one_key_are_named_as_the_cause(
    two: Two, wire: Wire, clock: Hands, until: Until
) -> None:
    """A restart is another process, and no sign; a process that was replaced and comes back is."""
    desk, laptop = two
    first, second = laptop.switchboard._boot, b"anotherb"
    for boot, cloned in ((first, False), (second, False), (second, False), (first, True)):
        laptop.switchboard._boot = boot
        before = desk.switchboard.links.get(laptop.id)
        if before is not None:
            await before.leave("stopping")
            await until(lambda: not desk.switchboard.links and not laptop.switchboard.links)
        wire.connect(desk, laptop)
        await until(lambda: desk.id in laptop.switchboard.links and laptop.id in desk.switchboard.links)
        assert desk.book.clones.is_two(laptop.id) == cloned
    status = peer(desk, laptop)
    assert (status.state, "two machines" in status.reason) == ("blocked", True)
    assert "A cloned machine" in status.next_step
    view = await desk.statuses.spaces.view(desk.space)
    assert (view.state, "laptop: two machines" in view.reason) == ("degraded", True)
    (device,) = desk.statuses.peers.everybody().peers
    assert (device.state, device.next_step) == ("linked", status.next_step)
    clock.pass_s(601)
    await until(lambda: peer(desk, laptop).state == "in sync")


async def test_a_clone_says_that_another_machine_has_its_key(two: Two, wire: Wire, clock: Hands) -> None:
    desk, laptop = two
    wire.refusals[laptop.address] = LinkLost("another machine with this device's key", code="two-machines")
    assert not await desk.dialing._dial(laptop.id, laptop.address)
    device = (await desk.statuses.status()).device
    assert (device.state, "this device's own key at" in device.reason) == ("degraded", True)
    assert "A cloned machine" in device.next_step
    clock.pass_s(601)
    assert (await desk.statuses.status()).device.state == "running"
    assert not await desk.dialing._identify(laptop.address)
    assert (await desk.statuses.status()).device.state == "degraded"


async def test_a_clone_that_others_throw_out_for_its_double_says_so(desk: Device, clock: Hands) -> None:
    """The two need not reach each other, and it is there that somebody has to do something."""
    gone = Trouble("duplicate", "they keep another link with this device's key")
    for _ in range(3):
        assert (await desk.statuses.status()).device.state == "running"
        desk.book.linked(OTHER, "attic", "1")
        desk.book.lost(OTHER, gone, 1.0)
    device = (await desk.statuses.status()).device
    assert (device.state, "this device's own key" in device.reason) == ("degraded", True)
    assert "A cloned machine" in device.next_step
    clock.pass_s(601)
    assert (await desk.statuses.status()).device.state == "running"


async def test_damage_is_told_until_it_is_put_right(desk: Device) -> None:
    await desk.put("a", {"text": "good"})
    findings = desk.space.damage.findings
    view = (await desk.statuses.spaces.view(desk.space)).scrub
    assert view is not None
    assert (view.damaged, view.findings, view.finished_ms) == (0, [], None)
    await findings.found("missing", [("notes", "a")], desk.id)
    space = await desk.statuses.spaces.view(desk.space)
    assert (space.state, space.reason) == ("degraded", "1 record in this device's copy is damaged")
    assert space.next_step
    assert space.scrub is not None
    assert [one.text for one in space.scrub.findings] == ["notes/a was gone"]
    await findings.put_right({("notes", "a")}, "peer", desk.id)
    space = await desk.statuses.spaces.view(desk.space)
    assert (space.state, space.reason) == ("alone", "")
    assert space.scrub is not None
    assert (space.scrub.damaged, space.scrub.repaired) == (0, 1)
    assert [one.text for one in space.scrub.findings] == ["notes/a was gone: put right from desk"]
