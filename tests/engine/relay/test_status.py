"""What relays have to do with the state of a space and its peers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from peerd.core.stored import USED, WITHDRAWN, StoredPetition
from peerd.engine.relay.relays import SeenThere
from peerd.engine.relay.status import describe_relayed, is_behind_on_relay
from peerd.engine.relay.views import petition_state
from peerd.protocol.control.relays import RelaySync
from peerd.protocol.control.reports import PeerStatus
from peerd.protocol.relay.collecting import Collecting
from tests.engine.conftest import Device, MakeDevice, Until
from tests.engine.relay_scene import Relayed, new_stick, objects

ONE, OTHER = b"a" * 16, b"b" * 16
SEEN = SeenThere("folder", 5, {ONE: 3, OTHER: 4})


def described(clock: dict[bytes, int], state: str = "offline") -> PeerStatus:
    status = PeerStatus(device="D", name="attic", state=state, reason="not found", next_step="Look for it.")
    describe_relayed(status, clock, SEEN)
    return status


def test_a_peer_on_a_relay_is_as_far_as_its_head_says() -> None:
    equal = described({ONE: 3, OTHER: 4})
    assert (equal.state, equal.behind, equal.ahead, equal.reason, equal.since_ms) == ("relayed", 0, 0, "", 5)
    assert not is_behind_on_relay(equal)
    apart = described({ONE: 5, OTHER: 1})
    assert (apart.state, apart.behind, apart.ahead) == ("relayed", 3, 2)
    assert "through the folder relay" in apart.reason
    assert "peerctl relay sync" in apart.next_step
    assert is_behind_on_relay(apart)
    away = described({ONE: 5, OTHER: 4})
    assert (away.behind, away.ahead) == (0, 2)
    assert "that device takes it when it looks there" in away.next_step, "nothing can be done about that from here"


def test_what_stops_the_relay_is_said_instead_of_that_all_is_on_its_way() -> None:
    stopped = ("folder relay: not there", "Plug it in.")
    status = PeerStatus(device="D", name="attic", state="offline")
    describe_relayed(status, {}, SEEN, stopped)
    assert (status.state, status.behind, status.reason, status.next_step) == ("relayed", 7, *stopped)
    equal = PeerStatus(device="D", name="attic", state="offline")
    describe_relayed(equal, SEEN.clock, SEEN, stopped)
    assert equal.reason == ""
    unread = PeerStatus(device="D", name="attic", state="offline", reason="not found")
    describe_relayed(unread, {}, None, stopped)
    assert (unread.state, unread.reason, unread.next_step) == ("offline", *stopped)


def test_a_fork_is_said_before_anything_else_also_before_its_head_is_read_to_the_end() -> None:
    fork = ("two histories of attic", "Bring the two onto one network.")
    for seen in (SEEN, None):
        status = PeerStatus(device="D", name="attic", state="offline", reason="not found")
        describe_relayed(status, {}, seen, ("folder relay: not there", "Plug it in."), fork)
        assert (status.state, status.reason, status.next_step) == ("blocked", *fork)


def test_who_is_refused_stays_so() -> None:
    assert described({}, "refused").reason == "not found"
    assert not is_behind_on_relay(described({}, "refused"))


@pytest.mark.parametrize(
    ("expires_ms", "relays", "state", "words"),
    [
        (9, ["folder"], "waiting", "through folder"),
        (9, [], "degraded", "no relay here"),
        (5, ["folder"], "removed", "expired"),
        (WITHDRAWN, ["folder"], "removed", "withdrawn"),
        (USED, ["folder"], "removed", "used"),
    ],
)
def test_a_petition_says_what_it_waits_for(expires_ms: int, relays: list[str], state: str, words: str) -> None:
    found, reason, next_step = petition_state(StoredPetition("ab", b"", (), expires_ms), 5, relays)
    assert found == state
    assert words in reason
    assert ("if another one has used it" in next_step) == ("through" in reason)
    assert next_step


@pytest.fixture
async def both(two: tuple[Device, Device], tmp_path: Path) -> AsyncIterator[tuple[Relayed, Relayed]]:
    """Two members that meet on a relay alone, and say so."""
    folder = new_stick(tmp_path)
    desk, laptop = (Relayed(device, folder) for device in two)
    for one in (desk, laptop):
        one.device.statuses.relays = one.relays
        await one.start()
    yield desk, laptop
    for one in (desk, laptop):
        await one.stop()


async def test_members_that_meet_on_a_relay_alone_are_in_sync(both: tuple[Relayed, Relayed]) -> None:
    """And so is the space, and whoever asks whether all has converged hears it."""
    desk, laptop = both
    await desk.device.put("milk", {"n": 1})
    for one in (desk, laptop, desk):
        await one.relays.sync(RelaySync())
    for one in (desk, laptop):
        assert one.device.statuses.health().converged
        (peer,) = one.device.statuses.peers.of(one.device.space)
        assert (peer.state, peer.behind, peer.ahead) == ("relayed", 0, 0)
        assert (await one.device.statuses.spaces.view(one.device.space)).state == "in sync"


async def test_a_folder_that_is_away_is_why_a_peer_is_behind(both: tuple[Relayed, Relayed]) -> None:
    desk, laptop = both
    for one in (desk, laptop, desk):
        await one.relays.sync(RelaySync())
    away = desk.folder.with_name("away")
    desk.folder.rename(away)
    await desk.device.put("milk", {"n": 1})
    await desk.relays.sync(RelaySync())
    (peer,) = desk.device.statuses.peers.of(desk.device.space)
    assert (peer.state, peer.ahead) == ("relayed", 1)
    assert f"The relay's folder {desk.folder} is not there." in peer.reason
    away.rename(desk.folder)


async def test_who_was_removed_by_others_finds_it_on_the_relay(both: tuple[Relayed, Relayed], until: Until) -> None:
    """In the place of its head, for its eyes only; from then on it says by whom, and writes nothing there."""
    desk, laptop = both
    space = laptop.device.space
    space.on_roster.append(lambda _: laptop.relays.look_again_soon())
    for one in (desk, laptop, desk):
        await one.relays.sync(RelaySync())
    sizes = {path.name: path.stat().st_size for path in objects(desk.folder)}
    await desk.device.spaces.remove(desk.device.space, laptop.device.id)
    await until(lambda: not space.roster.is_member(laptop.device.id))
    await until(lambda: laptop.relays.views().relays[0].code == "removed")
    assert {path.name: path.stat().st_size for path in objects(desk.folder)} == sizes
    view = await laptop.device.statuses.spaces.view(space)
    assert view.state == "removed"
    assert "removed from home by desk" in view.reason
    laptop.store.calls.clear()
    await desk.relays.sync(RelaySync())
    await laptop.relays.sync(RelaySync())
    assert set(laptop.store.calls) <= {"prepare", "lookup"}, "it looks whether its removal stands"


async def test_who_was_removed_by_others_is_told_that_it_may_have_been(
    both: tuple[Relayed, Relayed],
    until: Until,
    log_events: Callable[[], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until somebody has left word for it, that others seal for others now is all that it sees."""
    desk, laptop = both
    monkeypatch.setattr(Collecting, "farewell", lambda *_: None)
    for one in (desk, laptop, desk):
        await one.relays.sync(RelaySync())
    await desk.device.spaces.remove(desk.device.space, laptop.device.id)
    await until(lambda: bool(laptop.relays.views().relays[0].findings))
    (finding,) = laptop.relays.views().relays[0].findings
    assert finding.code == "relay-unknown-key"
    assert "Ask a member" in finding.next_step
    view = await laptop.device.statuses.spaces.view(laptop.device.space)
    assert view.state == "degraded"
    assert "this one was removed" in view.reason
    (peer,) = view.peers
    assert "sealed for other devices" in peer.reason
    assert "Ask a member" in peer.next_step
    await laptop.relays.sync(RelaySync())
    logged = [event for event in log_events() if event.get("code") == "relay-unknown-key"]
    assert [(one["level"], one["relay"], one["cause"]) for one in logged] == [("warning", "folder", finding.text)]


async def test_a_space_that_waits_to_be_let_in_says_so(both: tuple[Relayed, Relayed], make: MakeDevice) -> None:
    desk, _ = both
    file, code, _ = await desk.files.invite(desk.device.space, 7)
    attic = make("attic")
    guest = Relayed(attic, desk.folder)
    attic.statuses.relays = guest.relays
    await guest.files.ask(file, code, None)
    view = await attic.statuses.spaces.view(attic.space)
    assert (view.state, "no relay here" in view.reason) == ("degraded", True)
    assert (await attic.statuses.status()).device.state == "degraded", "somebody has to configure one"
    await guest.start()
    view = await attic.statuses.spaces.view(attic.space)
    assert (view.state, "no member has answered yet" in view.reason, bool(view.next_step)) == ("waiting", True, True)
    device = (await attic.statuses.status()).device
    assert (device.state, device.reason, device.next_step) == ("running", "", ""), "nothing is wrong with that"
    health = attic.statuses.health()
    assert (health.converged, "no member has answered yet" in health.reason) == (False, True)
    assert [(peer.state, peer.reason, peer.next_step) for peer in view.peers] == 2 * [("offline", "", "")]
    await guest.stop()
