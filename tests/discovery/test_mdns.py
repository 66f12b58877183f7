"""Several Mdns instances on one real loopback: they find each other, and nobody else finds out who they are."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.tags import Announcement, make_tag, recognise
from peerd.discovery import mdns as module
from peerd.discovery.candidates import MAX_SIGHTINGS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Make = Callable[..., Awaitable[Any]]

pytestmark = pytest.mark.usefixtures("quiet_loopback")

DEVICE, SPACE, KEY = b"d" * 32, b"s" * 16, b"k" * 32


async def test_three_on_one_machine_find_each_other(watcher: Make) -> None:
    """They share port 5353, and each sees the two others with their ports, tags and nonces, and never itself."""
    nodes = [await watcher(port=7001 + n) for n in range(3)]
    for n, node in enumerate(nodes):
        await node.announce(bytes([n]) * 8)
    for node in nodes:
        for n, other in enumerate(nodes):
            if other is node:
                continue
            seen = await node.until(lambda node=node, other=other: node.of(other))
            assert seen.source == "mdns"
            assert seen.addresses == (("127.0.0.1", 7001 + n),)
            assert seen.tags == (bytes([n]) * 8,)
            assert seen.pairing_name is None
        assert not any(each.nonce in node.nonces for each in node.seen)


async def test_only_a_member_recognises_the_device(watcher: Make) -> None:
    """What was seen on the air names the device to whoever holds the key, and nobody to anyone else."""
    member, node = await watcher(), await watcher(port=7002)
    await node.mdns.announce(lambda nonce: [make_tag(KEY, nonce, DEVICE)], None)
    seen = await member.until(lambda: member.seen and member.seen[-1])
    said = Announcement(seen.nonce, seen.tags)
    assert recognise(said, [(DEVICE, SPACE, KEY)]) == [(DEVICE, SPACE)]
    assert recognise(said, [(DEVICE, SPACE, b"x" * 32)]) == []


async def test_a_goodbye_ends_a_sighting(watcher: Make) -> None:
    """Who stops is gone at once, not when its records expire."""
    here, there = await watcher(), await watcher(port=7002)
    await there.announce()
    seen = await here.until(lambda: here.of(there))
    await there.mdns.stop()
    await here.until(lambda: seen.instance in here.gone)
    assert there.mdns.state == "off"
    assert there.mdns.interfaces == ()


async def test_who_stops_in_the_middle_of_announcing_is_gone_once(watcher: Make) -> None:
    """The announcement is repeated for half a second; a goodbye in between is the last word."""
    here, there = await watcher(), await watcher(port=7002)
    await there.announce()
    await here.until(lambda: here.of(there))
    await there.mdns.stop()
    await here.until(lambda: here.gone)
    await asyncio.sleep(0.6)
    assert len(here.gone) == 1
    assert not here.standing


async def test_who_was_recognised_is_not_pushed_out_by_strangers(watcher: Make) -> None:
    """The callback's True protects a sighting from a host that invents devices."""
    here, there = await watcher(), await watcher(port=7002)
    here.mdns._on_sighting = lambda sighting: here.seen.append(sighting) or sighting.nonce in there.nonces
    await there.announce()
    friend = await here.until(lambda: here.of(there))
    (index,) = here.mdns._stations
    hears = here.mdns._hears_on(index)
    for n in range(3 * MAX_SIGHTINGS):
        hears(f"n{n}", Announcement(n.to_bytes(16)), (("127.0.0.1", 7337),))
    assert friend.instance not in here.gone
    assert here.mdns.candidates == MAX_SIGHTINGS


async def test_the_pairing_name_is_shown_only_while_it_is_announced(watcher: Make) -> None:
    """A window opens with a name for everybody and closes with the name withdrawn."""
    here, there = await watcher(), await watcher(port=7002)
    await there.announce(b"t" * 8)
    assert (await here.until(lambda: here.of(there))).pairing_name is None
    await there.announce(b"t" * 8, name="kitchen\x07")
    seen = await here.until(lambda: here.of(there))
    assert seen.pairing_name == "kitchen"
    await there.announce(b"t" * 8)
    assert (await here.until(lambda: here.of(there))).pairing_name is None
    await here.until(lambda: seen.instance in here.gone)


async def test_nonce_instance_and_host_name_change_together(watcher: Make, packets: list[bytes]) -> None:
    """Nothing that a stranger reads is the same before and after a refresh, and the old announcement is withdrawn."""
    here, there = await watcher(), await watcher(port=7002)
    await there.announce()
    first = await here.until(lambda: here.of(there))
    before = packets.copy()
    packets.clear()
    await there.mdns.refresh()
    second = await here.until(lambda: here.of(there))
    await here.until(lambda: first.instance in here.gone)
    assert first.nonce != second.nonce
    # The goodbye repeats the old names; everything else is new.
    after = [packet for packet in packets if first.nonce.hex().encode() not in packet]
    words = _words(before), _words(after)
    assert words[0]
    assert words[1]
    assert not words[0] & words[1]


async def test_a_new_identity_comes_with_every_day(watcher: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The renewal timer does what a refresh does."""
    monkeypatch.setattr(module, "RENEWAL_S", 0.3)
    here, there = await watcher(), await watcher(port=7002)
    await there.announce()
    await here.until(lambda: len({each.nonce for each in here.seen}) > 2)


async def test_a_refresh_reports_again_who_still_answers(watcher: Make) -> None:
    """After a network change what is seen counts as news, although nothing about it changed."""
    here, there = await watcher(), await watcher(port=7002)
    await there.announce()
    await here.until(lambda: here.of(there))
    here.seen.clear()
    await here.mdns.refresh()
    await here.until(lambda: here.of(there))
    assert not here.gone


async def test_who_does_not_answer_after_a_refresh_is_gone(watcher: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that vanished without a goodbye is forgotten a while after we looked again."""
    monkeypatch.setattr(module, "SWEEP_S", 0.5)
    here, there = await watcher(), await watcher(port=7002)
    await there.announce()
    seen = await here.until(lambda: here.of(there))
    for each in there.mdns._stations.values():
        for transport in (reader.transport for reader in each._zeroconf.zeroconf.engine.readers):
            transport.abort()
    await here.mdns.refresh()
    await here.until(lambda: seen.instance in here.gone)


async def test_a_port_that_another_responder_shares_is_no_hindrance(watcher: Make) -> None:
    """Avahi and systemd-resolved bind 5353 for sharing; beside such a socket everything works."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as avahi:
        avahi.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        avahi.bind(("0.0.0.0", 5353))  # noqa: S104 - as Avahi does
        membership = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
        avahi.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        here, there = await watcher(), await watcher(port=7002)
        await there.announce()
        await here.until(lambda: here.of(there))
        assert here.mdns.state == "running"


async def test_a_port_that_is_held_alone_is_said_and_tried_again(
    watcher: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says whose fault it is; when the other program has gone, it works without being told."""
    monkeypatch.setattr(module, "RETRY_S", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as greedy:
        try:
            greedy.bind(("0.0.0.0", 5353))  # noqa: S104 - what is tested
        except OSError:
            pytest.skip("port 5353 of this machine is in use")
        here = await watcher()
        assert here.mdns.state == "failed"
        assert here.mdns.interfaces == ()
        assert "another program holds UDP port 5353" in here.mdns.problem
    await here.until(lambda: here.mdns.state == "running")
    assert here.mdns.problem is None


async def test_no_interface_is_a_sentence_and_not_a_crash(watcher: Make) -> None:
    """Nothing to announce on: failed, with what was asked for; announcing and refreshing still do no harm."""
    here = await watcher(interfaces=("nosuch0",))
    await here.announce()
    await here.mdns.refresh()
    assert here.mdns.state == "failed"
    assert here.mdns.problem == "no interface with multicast is up among those chosen (nosuch0)"


async def test_unreadable_interfaces_are_a_sentence_and_not_a_crash(watcher: Make) -> None:
    """A sandbox without AF_NETLINK cannot list interfaces."""

    def refuse() -> list[Any]:
        raise PermissionError(1, "Operation not permitted")

    here = await watcher(read=refuse)
    assert here.mdns.state == "failed"
    assert "cannot be read: Operation not permitted" in here.mdns.problem


async def test_a_send_that_fails_is_said(watcher: Make) -> None:
    """A firewall that refuses outgoing multicast shows in the status, and only for as long as it lasts."""
    here = await watcher()
    (only,) = here.mdns._stations.values()
    only._send_failed(PermissionError(1, "Operation not permitted"))
    assert here.mdns.state == "failed"
    assert here.mdns.problem == "lo: sending fails (Operation not permitted)"
    only.ask()
    assert here.mdns.state == "running"


async def test_a_flapping_network_is_announced_on_with_measure(watcher: Make) -> None:
    """Twenty changes at once cost one or two new identities, not twenty."""
    here = await watcher()
    await here.announce()
    before = len(here.nonces)
    await asyncio.gather(*(here.mdns.refresh() for _ in range(20)))
    assert 1 <= len(here.nonces) - before <= 2


async def test_a_network_that_flaps_for_hours_is_followed_with_measure(
    watcher: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three refreshes in a row, then one must wait its turn; an announcement never does, and stopping ends the wait."""
    monkeypatch.setattr(module, "ROW_S", 0.5)
    here = await watcher()
    clock = asyncio.get_running_loop().time
    began_s = clock()
    for _ in range(6):
        await here.mdns.refresh()
    assert clock() - began_s >= 0.5
    monkeypatch.setattr(module, "ROW_S", 3600.0)
    waiting = asyncio.create_task(here.mdns.refresh())
    await here.announce()
    assert here.nonces
    assert not waiting.done()
    await here.mdns.stop()
    await waiting


async def test_more_tags_than_a_record_holds_are_left_out(watcher: Make) -> None:
    """The first eight are announced, so that the caller decides which matter."""
    here, there = await watcher(), await watcher(port=7002)
    await there.announce(*(bytes([n]) * 8 for n in range(11)))
    seen = await here.until(lambda: here.of(there))
    assert seen.tags == tuple(bytes([n]) * 8 for n in range(8))


async def test_stopping_at_any_moment_leaves_nothing_behind(watcher: Make) -> None:
    """Also in the middle of a refresh: the guards of the suite look for tasks and sockets left open."""
    here = await watcher()
    await here.announce()
    refreshing = asyncio.create_task(here.mdns.refresh())
    await asyncio.sleep(0)
    await here.mdns.stop()
    await refreshing
    assert here.mdns.state == "off"
    assert here.mdns.problem is None
    await here.mdns.refresh()
    assert here.mdns.interfaces == ()


def _words(packets: list[bytes]) -> set[bytes]:
    """Every run of 16 or more hex digits: nonces, tags, instance and host names."""
    found: set[bytes] = set()
    for packet in packets:
        found.update(word for word in re.findall(rb"[0-9a-f]{16,}", packet))
    return found


@pytest.fixture
async def packets() -> Any:
    """What a stranger on the link reads: every mDNS packet on the loopback."""
    caught: list[bytes] = []

    class Catcher(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _addr: tuple[Any, int]) -> None:
            caught.append(data)

    handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    handle.bind(("224.0.0.251", 5353))
    membership = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
    handle.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Catcher, sock=handle)
    yield caught
    transport.close()
