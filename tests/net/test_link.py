from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from peerd.errors import LinkLost, LocalProtocolError, RemoteProtocolError
from peerd.net.link import INTRODUCE, PAIR, SYNC, Link, LinkClosed
from peerd.net.sockets import DEAD_AFTER_S

Ends = tuple[Link, Link]
MIB = 1 << 20


def buffered_bytes(link: Link) -> int:
    """What waits in this process, in the buffers of TLS and of TCP, to be taken by the kernel."""
    transport: Any = link._connection.transport
    return int(transport.get_write_buffer_size()) + int(transport._ssl_protocol._transport.get_write_buffer_size())


async def test_frames_arrive_whole_in_order_and_both_ways(ends: Ends) -> None:
    """A frame is what was sent, empty and large ones included; each direction keeps its order."""
    dialed, accepted = ends
    frames = [b"", b"a", bytes(MIB), b"last"]

    async def send_all(link: Link) -> None:
        for frame in frames:
            await link.send(frame)

    async with asyncio.TaskGroup() as group:
        group.create_task(send_all(dialed))
        group.create_task(send_all(accepted))
        received = [group.create_task(_receive(link, len(frames))) for link in ends]
    assert [task.result() for task in received] == [frames, frames]


async def _receive(link: Link, count: int) -> list[bytes]:
    return [await link.receive() for _ in range(count)]


async def test_each_end_knows_who_is_at_the_other(ends: Ends, station: Any, friend: Any) -> None:
    """Both ends carry the proven device id, who dialled, the other's address and the subprotocol."""
    dialed, accepted = ends
    assert (dialed.theirs, accepted.theirs) == (station.identity.device, friend.device)
    assert (dialed.dialed, accepted.dialed) == (True, False)
    assert dialed.address == station.address
    assert accepted.address[0] == "127.0.0.1"
    assert dialed.subprotocol == accepted.subprotocol == SYNC


async def test_close_code_and_reason_arrive(ends: Ends) -> None:
    """Who is left learns the code and the reason, and that it was not we who closed; the closer, that it was."""
    dialed, accepted = ends
    closing = asyncio.create_task(accepted.close(4410, "removed from the space"))
    with pytest.raises(LinkClosed) as theirs:
        await dialed.receive()
    await closing
    with pytest.raises(LinkClosed) as ours:
        await accepted.receive()
    said = [(lost.value.close_code, lost.value.reason, lost.value.ours) for lost in (theirs, ours)]
    assert said == [(4410, "removed from the space", False), (4410, "removed from the space", True)]
    assert isinstance(theirs.value, LinkLost)


@pytest.mark.parametrize(("close_code", "reason"), [(4403, "removed"), (4401, "unknown-device")])
async def test_who_dials_and_will_not_have_us_says_so_as_one_that_refuses(
    ends: Ends, close_code: int, reason: str
) -> None:
    """The reason is the code, on the side that is told; ours is no refusal."""
    dialed, accepted = ends
    closing = asyncio.create_task(dialed.close(close_code, reason))
    with pytest.raises(LinkClosed) as theirs:
        await accepted.receive()
    await closing
    with pytest.raises(LinkClosed) as ours:
        await dialed.receive()
    assert (theirs.value.code, ours.value.code) == (reason, "link-lost")
    assert str(theirs.value).startswith("It ended the link: ")


async def test_an_abort_is_code_1006(ends: Ends) -> None:
    """A link that breaks without a goodbye ends with 1006 and no reason."""
    dialed, accepted = ends
    accepted.abort()
    with pytest.raises(LinkClosed) as lost:
        await dialed.receive()
    assert (lost.value.close_code, lost.value.reason) == (1006, "")


async def test_a_long_reason_is_cut_between_characters(ends: Ends) -> None:
    """A reason that does not fit a close frame is shortened, and never in the middle of a character."""
    dialed, accepted = ends
    closing = asyncio.create_task(accepted.close(4400, "ä" * 200))
    with pytest.raises(LinkClosed) as lost:
        await dialed.receive()
    await closing
    assert lost.value.reason == "ä" * 61


async def test_sending_on_a_closed_link_fails_and_closing_again_does_nothing(ends: Ends) -> None:
    """After the end, `send` raises LinkLost and a second `close` is quiet."""
    dialed, accepted = ends
    async with asyncio.TaskGroup() as group:
        group.create_task(accepted.close(1000, ""))
        with pytest.raises(LinkClosed):
            await dialed.receive()
    with pytest.raises(LinkClosed):
        await dialed.send(b"late")
    await dialed.close(1000, "")
    await accepted.close(1000, "")


async def test_a_text_frame_closes_with_4400(ends: Ends) -> None:
    """Frames are binary: the receiver of a text frame blames the other side and closes with 4400."""
    dialed, accepted = ends
    await dialed._connection.send("text")
    hearing = asyncio.create_task(_ended(dialed))
    with pytest.raises(RemoteProtocolError) as blamed:
        await accepted.receive()
    assert blamed.value.close_code == 4400
    assert (await hearing).close_code == 4400


async def _ended(link: Link) -> LinkClosed:
    with pytest.raises(LinkClosed) as lost:
        await link.receive()
    return lost.value


async def test_an_oversize_frame_closes_with_1009(ends: Ends) -> None:
    """One byte beyond 1 MiB: the receiver blames the other side ("too-big") and both learn 1009."""
    dialed, accepted = ends
    hearing = asyncio.create_task(_ended(dialed))
    sending = asyncio.create_task(dialed._connection.send(bytes(MIB + 1)))
    with pytest.raises(RemoteProtocolError) as blamed:
        await accepted.receive()
    assert (blamed.value.code, blamed.value.close_code) == ("too-big", 1009)
    assert (await hearing).close_code == 1009
    await asyncio.gather(sending, return_exceptions=True)


async def test_an_oversize_message_in_fragments_closes_with_1009(ends: Ends) -> None:
    """The limit holds for the whole message, not for each of its fragments."""
    dialed, accepted = ends
    hearing = asyncio.create_task(_ended(dialed))
    sending = asyncio.create_task(dialed._connection.send([bytes(MIB // 2)] * 3))
    with pytest.raises(RemoteProtocolError) as blamed:
        await accepted.receive()
    assert blamed.value.close_code == 1009
    assert (await hearing).close_code == 1009
    await asyncio.gather(sending, return_exceptions=True)


async def test_our_own_oversize_frame_is_a_bug_of_ours(ends: Ends) -> None:
    """`send` refuses what the other side would refuse, and the link goes on."""
    dialed, accepted = ends
    with pytest.raises(LocalProtocolError):
        await dialed.send(bytes(MIB + 1))
    await dialed.send(b"still here")
    assert await accepted.receive() == b"still here"


@pytest.mark.parametrize("subprotocol", [PAIR, INTRODUCE])
async def test_a_link_of_somebody_unknown_takes_16_kib(station: Any, friend: Any, subprotocol: str) -> None:
    """On `peerd.pair.1` and `peerd.introduce.1` the limit is 16 KiB, at both ends and when sending."""
    station.pairing = True
    dialed, accepted = await station.link_from(friend, subprotocol)
    await dialed.send(bytes(16 << 10))
    assert len(await accepted.receive()) == 16 << 10
    with pytest.raises(LocalProtocolError):
        await accepted.send(bytes((16 << 10) + 1))
    hearing = asyncio.create_task(_ended(accepted))
    await accepted._connection.send(bytes((16 << 10) + 1))
    with pytest.raises(RemoteProtocolError) as blamed:
        await dialed.receive()
    assert blamed.value.close_code == 1009
    assert (await hearing).close_code == 1009


async def test_a_fast_sender_waits_for_a_receiver_that_does_not_read(ends: Ends) -> None:
    """Back-pressure: with nobody receiving, sending stops with at most two frames in this process, and goes
    on, nothing lost, when somebody does. Several senders at once make no difference.
    """
    dialed, accepted = ends
    bound = 2 * 256 * 1024 + 64 * 1024
    sent = 0
    most = 0

    async def send_many(first: int) -> None:
        nonlocal sent, most
        for number in range(first, 200, 4):
            await dialed.send(number.to_bytes(2, "big") + bytes(256 * 1024 - 2))
            sent += 1
            most = max(most, buffered_bytes(dialed))

    senders = [asyncio.create_task(send_many(first)) for first in range(4)]
    await _standstill(lambda: sent)
    stood_at = sent
    most = max(most, buffered_bytes(dialed))
    assert stood_at < 200
    assert most <= bound
    assert len(accepted._connection.recv_messages.frames) <= 6
    received = [int.from_bytes((await accepted.receive())[:2], "big") for _ in range(200)]
    await asyncio.gather(*senders)
    assert sorted(received) == list(range(200))
    assert most <= bound


async def _standstill(count: Any) -> None:
    """Wait until a number has stopped growing."""
    quiet = 0
    last = -1
    while quiet < 20:
        await asyncio.sleep(0.01)
        quiet, last = (quiet + 1, last) if count() == last else (0, count())


async def test_closing_a_link_that_takes_nothing_ends(ends: Ends) -> None:
    """A goodbye that cannot leave, because the other side reads nothing, becomes an abort, without the help of
    the kernel, which would give up after 15 s; the blocked sender learns that the link is gone.
    """
    dialed, accepted = ends
    sock: socket.socket = dialed._connection.transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
    sent = 0

    async def send_on() -> None:
        nonlocal sent
        while True:
            await dialed.send(bytes(MIB))
            sent += 1

    sender = asyncio.create_task(send_on())
    await _standstill(lambda: sent)
    async with asyncio.timeout(10):
        await dialed.close(4408, "too slow")
    with pytest.raises(LinkClosed):
        await sender
    accepted.abort()


async def test_a_cancelled_close_leaves_nothing(ends: Ends) -> None:
    """Cancelling `close` drops the link at once instead of leaving it half closed."""
    dialed, accepted = ends
    closing = asyncio.create_task(dialed.close(1000, ""))
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    with pytest.raises(LinkClosed):
        await dialed.receive()
    with pytest.raises(LinkClosed):
        await accepted.receive()


async def test_the_kernel_watches_a_silent_link(ends: Ends) -> None:
    """Data is sent at once, and a dead peer is noticed by probes and by unacknowledged data, all in the kernel."""
    for link in ends:
        sock: socket.socket = link._connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == DEAD_AFTER_S * 1000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < DEAD_AFTER_S


async def test_pings_are_on_and_compression_is_off(ends: Ends) -> None:
    """Both ends ping every 20 s with 20 s of patience; no extension was negotiated."""
    for link in ends:
        connection = link._connection
        assert (connection.ping_interval, connection.ping_timeout) == (20, 20)
        assert connection.keepalive_task is not None
        assert connection.protocol.extensions == []
