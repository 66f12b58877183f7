"""One connection over a real socket: order, pace, time."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
from typing import Any

import pytest

from peerd.errors import UserError
from peerd.protocol.control.messages import ChangeEvent
from peerd.protocol.control.reports import InvitationEvent

GET = b"GET /v1/peers HTTP/1.1\r\nHost: x\r\n\r\n"
RECORD = "/v1/spaces/home/records/todo/1"
FEED = "/v1/spaces/home/changes?follow=1"


def event(token: str, size_bytes: int = 1) -> ChangeEvent:
    return ChangeEvent(kind="put", token=token, collection="todo", key="1", value={"a": "x" * size_bytes}, etag="e")


def tokens(chunk: bytes) -> list[str]:
    return [json.loads(line)["token"] for line in chunk.splitlines()]


async def test_one_connection_serves_many_requests(talk: Any) -> None:
    """Kept alive, refusals included."""
    for _ in range(3):
        assert (await talk.ask("GET", "/v1/peers")).status == 200
        (await talk.ask("GET", "/v1/nothing")).problem(404, "no-such-path")


async def test_requests_sent_ahead_are_answered_in_order(talk: Any) -> None:
    """Far more of them than fit one read, while nobody reads the answers yet."""
    paths = [b"/v1/peers" if n % 3 else b"/v1/no%d" % n for n in range(2_000)]
    sending = asyncio.create_task(talk.send(b"".join(b"GET %b HTTP/1.1\r\n\r\n" % path for path in paths)))
    for path in paths:
        assert (await talk.read()).status == (200 if path == b"/v1/peers" else 404)
    await sending


async def test_what_is_sent_ahead_stays_outside(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """While a write waits, a flood behind it is not taken in: the sender is made to wait."""
    service.gate = asyncio.Event()
    server = await serve()
    talk = await connect()
    body = b'{"a":1}'
    head = b"PUT %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (RECORD.encode(), len(body))
    await talk.send(head + body)
    await until(lambda: service.calls)
    (connection,) = server._lobby._guests
    sending = asyncio.create_task(talk.send(GET * 30_000))
    await until(lambda: not connection._transport.is_reading())
    assert len(connection._held) <= 256 << 10
    assert not connection._intake.ready
    assert not sending.done()
    service.gate.set()
    for _ in range(30_001):
        assert (await talk.read()).status == 200
    await sending


async def test_head_is_get_without_a_body(talk: Any) -> None:
    """The length is told, the body not, and the connection goes on."""
    got = await talk.ask("GET", RECORD)
    head = await talk.ask("HEAD", RECORD)
    assert head.headers == got.headers
    assert (head.status, head.body) == (200, b"")
    assert (await talk.ask("HEAD", FEED)).headers["transfer-encoding"] == "chunked"
    assert (await talk.ask("GET", "/v1/peers")).status == 200


async def test_a_caller_may_end_the_connection(talk: Any) -> None:
    reply = await talk.ask("GET", "/v1/peers", headers={"Connection": "close"})
    assert reply.headers["connection"] == "close"
    assert await talk.at_end()


async def test_http_1_0_gets_plain_answers(serve: Any, connect: Any, service: Any) -> None:
    """Without chunks; a stream ends with the connection."""
    await serve()
    talk = await connect()
    await talk.send(b"GET /v1/peers HTTP/1.0\r\n\r\n")
    assert (await talk.read()).status == 200
    assert await talk.at_end()
    service.events.put_nowait([event("t1")])
    service.events.put_nowait([])
    talk = await connect()
    await talk.send(b"GET /v1/spaces/home/changes HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    reply = await talk.read()
    assert reply.headers["connection"] == "close"
    assert tokens(reply.body) == ["t1"]


async def test_a_body_is_asked_for_when_the_sender_waits(talk: Any) -> None:
    """Expect: 100-continue, as curl does for large bodies."""
    head = f"PUT {RECORD} HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n"
    await talk.send(head.encode())
    assert (await talk.read_head()).status == 100
    await talk.send(b'{"a":1}')
    assert (await talk.read()).status == 200


async def test_a_body_too_large_is_refused_unread(talk: Any, service: Any) -> None:
    """The answer comes before the body is sent, and outlives a sender that sends it nevertheless."""
    await talk.send(f"PUT {RECORD} HTTP/1.1\r\nContent-Length: {17 << 20}\r\n\r\n".encode())
    reply = await talk.read()
    assert reply.problem(413, "too-large")["limit_bytes"] == 16 << 20
    for _ in range(16):
        await talk.send(b"x" * (1 << 20))
    talk.writer.write_eof()
    assert await talk.at_end()
    assert service.calls == []


@pytest.mark.parametrize("raw", [b"\x16\x03\x01", b"GET /v1/peers\r\n\r\n", b"\x00" * 100, b"PUT / HTTP/9.9\r\n\r\n"])
async def test_nonsense_is_told_so(talk: Any, raw: bytes) -> None:
    """A problem document even for what is no HTTP, then the end."""
    await talk.send(raw)
    talk.writer.write_eof()
    reply = await talk.read()
    assert reply.status in {400, 505}
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["connection"] == "close"
    assert await talk.at_end()


async def test_half_a_request_is_told_so_when_its_sender_ends(talk: Any) -> None:
    await talk.send(b"PUT /v1/spaces/home/records/todo/1 HTTP/1.1\r\nContent-Length: 50\r\n\r\n{")
    talk.writer.write_eof()
    (await talk.read()).problem(400, "malformed-request")
    assert await talk.at_end()


async def test_a_sender_may_close_its_half_and_still_read(talk: Any) -> None:
    """As `printf ... | nc -N` does."""
    await talk.send(GET * 3)
    talk.writer.write_eof()
    for _ in range(3):
        assert (await talk.read()).status == 200
    assert await talk.at_end()


@pytest.mark.parametrize(
    "begun",
    [b"GET /v1/pe", b"GET / HTTP/1.1\r\nA", b"PUT " + RECORD.encode() + b" HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"],
)
async def test_a_slow_sender_is_timed_out(serve: Any, connect: Any, service: Any, begun: bytes) -> None:
    """A byte now and then does not help: the time is for the whole request."""
    await serve(limits={"head_s": 0.3, "body_s": 0.3, "tick_s": 0.05, "linger_s": 0.2})
    talk = await connect()
    await talk.send(begun)

    async def drip() -> None:
        while True:
            await asyncio.sleep(0.05)
            await talk.send(b"x")

    dripping = asyncio.create_task(drip())
    (await talk.read()).problem(408, "request-timeout")
    assert await talk.at_end()
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)
    assert service.calls == []


async def test_an_idle_connection_is_closed(serve: Any, connect: Any) -> None:
    """Also one that never said anything; one that speaks in time is not."""
    server = await serve(limits={"idle_s": 0.2, "tick_s": 0.05})
    silent, talking = await connect(), await connect()
    assert (await talking.ask("GET", "/v1/peers")).status == 200
    assert await silent.at_end()
    assert await talking.at_end()
    assert server.connections == 0


async def test_a_write_outlives_its_caller(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """A commit cannot be taken back, so it is not cancelled half way."""
    service.gate = asyncio.Event()
    server = await serve()
    talk = await connect()
    body = b'{"a":1}'
    await talk.send(b"PUT %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (RECORD.encode(), len(body), body))
    await until(lambda: service.calls)
    await talk.close()
    await until(lambda: server.connections == 0)
    service.gate.set()
    await until(lambda: ("committed",) in service.calls)
    assert server._lobby.held_bytes == 0


async def test_a_join_ends_with_its_caller(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """Nobody else waits for it."""
    await serve()
    talk = await connect()
    body = b'{"code":"1","host":"nobody:1"}'
    await talk.send(b"POST /v1/joins HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await until(lambda: service.calls)
    await talk.close()
    await until(service.join_ended.is_set)


# --- streams --------------------------------------------------------------------------------------


async def test_events_come_as_they_happen(talk: Any, service: Any) -> None:
    """Head first, then a line per event, then the end of the answer; then the connection serves on."""
    await talk.send(f"GET {FEED} HTTP/1.1\r\n\r\n".encode())
    head = await talk.read_head()
    assert head.headers["content-type"] == "application/x-ndjson"
    for number in range(3):
        service.events.put_nowait([event(f"t{number}"), event(f"u{number}")])
        assert tokens(await talk.chunk()) == [f"t{number}", f"u{number}"]
    service.events.put_nowait([])
    assert await talk.chunk() == b""
    assert (await talk.ask("GET", "/v1/peers")).status == 200
    assert service.open_feeds == 0


async def test_silence_is_filled_with_empty_lines(serve: Any, connect: Any, service: Any) -> None:
    """So that both sides notice when the other is gone."""
    await serve(limits={"heartbeat_s": 0.1, "tick_s": 0.05})
    talk = await connect()
    await talk.send(f"GET {FEED} HTTP/1.1\r\n\r\n".encode())
    await talk.read_head()
    assert await talk.chunk() == b"\n"
    assert await talk.chunk() == b"\n"
    service.events.put_nowait([event("t")])
    while (chunk := await talk.chunk()) == b"\n":
        pass
    assert tokens(chunk) == ["t"]


async def test_a_watcher_who_leaves_is_noticed_at_once(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """Not at the next event: the feed behind is closed."""
    server = await serve()
    talk = await connect()
    await talk.send(f"GET {FEED} HTTP/1.1\r\n\r\n".encode())
    await talk.read_head()
    await until(lambda: service.open_feeds == 1)
    await talk.close()
    await until(lambda: service.open_feeds == 0)
    await until(lambda: server.connections == 0)


async def test_a_watcher_may_close_its_sending_half(talk: Any, service: Any, until: Any) -> None:
    """It has nothing more to say and still reads."""
    await talk.send(f"GET {FEED} HTTP/1.1\r\n\r\n".encode())
    await talk.read_head()
    talk.writer.write_eof()
    await until(lambda: service.open_feeds == 1)
    service.events.put_nowait([event("t")])
    assert tokens(await talk.chunk()) == ["t"]
    service.events.put_nowait([])
    assert await talk.chunk() == b""
    assert await talk.at_end()


async def test_a_slow_reader_slows_the_feed_down(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """Nothing queues up behind it: the feed is read when there is room, and memory stays where it was."""
    service.endless = event("t", 64 << 10)
    server = await serve()
    talk = await connect(limit=1 << 10)
    await talk.send(f"GET {FEED} HTTP/1.1\r\n\r\n".encode())
    await until(lambda: service.open_feeds == 1)
    (connection,) = server._lobby._guests
    await until(lambda: connection._writable is not None)
    stuck_at = service.produced
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        await asyncio.sleep(0)
    assert service.produced <= stuck_at + 1
    assert connection._transport.get_write_buffer_size() < 1 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 << 10
    await talk.read_head()
    for _ in range(50):
        assert len(await talk.chunk()) > 64 << 10
    assert service.produced >= 50
    service.endless = None
    service.events.put_nowait([])


async def test_a_reader_who_never_reads_is_cut_off(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """Its place is needed."""
    service.endless = event("t", 64 << 10)
    server = await serve(limits={"stall_s": 0.2, "tick_s": 0.05})
    talk = await connect(limit=1 << 10)
    await talk.send(f"GET {FEED} HTTP/1.1\r\n\r\n".encode())
    await until(lambda: service.open_feeds == 1)
    await until(lambda: server.connections == 0)
    await until(lambda: service.open_feeds == 0)


async def test_an_error_in_a_stream_is_its_last_line(talk: Any, service: Any) -> None:
    """The status is long gone; the document still says why."""
    body = b'{"space":"home"}'
    await talk.send(b"POST /v1/invitations HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await talk.read_head()
    assert json.loads(await talk.chunk()) == {"id": "i1", "code": "48219073", "expires_in_s": 120}
    service.invitation.put_nowait(UserError("three wrong codes", code="code-used-up", status=409))
    assert json.loads(await talk.chunk())["error"]["code"] == "code-used-up"
    assert await talk.chunk() == b""


async def test_a_bug_in_a_stream_is_logged_and_told_without_details(talk: Any, service: Any, log_events: Any) -> None:
    body = b'{"space":"home"}'
    await talk.send(b"POST /v1/invitations HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await talk.read_head()
    await talk.chunk()
    service.invitation.put_nowait(ValueError("secret"))
    chunk = await talk.chunk()
    assert json.loads(chunk)["error"]["code"] == "internal"
    assert b"secret" not in chunk
    assert [line for line in log_events() if line["event"] == "request failed" and "secret" in line["cause"]]


async def test_hanging_up_closes_an_invitation(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """The person is gone, so nobody may come in."""
    await serve()
    talk = await connect()
    body = b'{"space":"home","yes":true}'
    await talk.send(b"POST /v1/invitations HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await talk.read_head()
    await talk.chunk()
    assert service.open_feeds == 1
    await talk.close()
    await until(lambda: service.open_feeds == 0)


async def test_an_invitation_ends_with_the_admission(talk: Any, service: Any) -> None:
    service.invitation.put_nowait(InvitationEvent(id="i1", asking={"device": "D"}))
    service.invitation.put_nowait(InvitationEvent(id="i1", admitted={"device": "D"}))
    reply = await talk.ask("POST", "/v1/invitations", {"space": "home"})
    assert [set(json.loads(line)) for line in reply.body.splitlines()] == [
        {"id", "code", "expires_in_s"},
        {"id", "asking"},
        {"id", "admitted"},
    ]
    assert service.calls == [("invite", "home", False)]


# --- strangers ------------------------------------------------------------------------------------


async def test_random_requests_change_nothing(serve: Any, connect: Any, service: Any) -> None:
    """Thousands of broken requests: each connection gets a refusal or its end, and the service never hears
    of one.
    """
    await serve(limits={"linger_s": 0.1, "tick_s": 0.05})
    chance = random.Random(int(os.environ.get("PEERD_SEED", "5")))
    whole = b'PUT /v1/spaces/home/records/todo/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n{"a": 1}'
    for _ in range(1_500):
        raw = bytearray(whole)
        if chance.random() < 0.5:
            # A broken start line or no colon: never a request that could be served.
            raw[chance.randrange(3)] = chance.choice(b"\x00\xff \t{z0")
        else:
            raw = bytearray(chance.randbytes(chance.randrange(1, 300)))
        talk = await connect()
        await talk.send(bytes(raw))
        talk.writer.write_eof()
        data = await talk.reader.read()
        assert not data or data.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405", b"HTTP/1.1 505")), data
        await talk.close()
    assert service.calls == []
    talk = await connect()
    assert (await talk.ask("GET", "/v1/peers")).status == 200
