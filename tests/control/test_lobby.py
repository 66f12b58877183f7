"""How many may be here, how much they may hold, and how everybody is sent home."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

FEED = b"GET /v1/spaces/home/changes?follow=1 HTTP/1.1\r\n\r\n"
PUT = b'PUT /v1/spaces/home/records/todo/1 HTTP/1.1\r\nContent-Length: 7\r\n\r\n{"a":1}'


async def test_who_is_idle_longest_makes_room(serve: Any, connect: Any, until: Any) -> None:
    """A program that keeps connections it does not use locks nobody out."""
    server = await serve(limits={"connections": 3})
    talkers = []
    for _ in range(3):
        talkers.append(await connect())
        assert (await talkers[-1].ask("GET", "/v1/peers")).status == 200
    assert (await talkers[0].ask("GET", "/v1/peers")).status == 200
    newcomer = await connect()
    assert (await newcomer.ask("GET", "/v1/peers")).status == 200
    assert await talkers[1].at_end()
    assert (await talkers[0].ask("GET", "/v1/peers")).status == 200
    await until(lambda: server.connections == 3)


async def test_when_all_are_busy_a_newcomer_is_told(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """Nobody who is being served is thrown out for it."""
    await serve(limits={"connections": 2})
    for _ in range(2):
        talk = await connect()
        await talk.send(FEED)
    await until(lambda: service.open_feeds == 2)
    newcomer = await connect()
    (await newcomer.read()).problem(503, "too-many-connections")
    assert await newcomer.at_end()
    assert service.open_feeds == 2


async def test_memory_for_bodies_comes_back(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """Served, refused or broken off: what was promised is given back."""
    server = await serve(limits={"bodies_bytes": 1_000})
    body = b'{"a":"%b"}' % (b"x" * 700)
    for _ in range(5):
        talk = await connect()
        assert (await talk.ask("PUT", "/v1/spaces/home/records/todo/1", body)).status == 200
        (await talk.ask("PUT", "/v1/spaces/home/records/todo/1", b"{" * 700)).problem(400, "malformed-json")
        await talk.send(b"PUT /v1/spaces/home/records/todo/1 HTTP/1.1\r\nContent-Length: 900\r\n\r\n{")
        await until(lambda: server._lobby.held_bytes == 900)
        other = await connect()
        (await other.ask("PUT", "/v1/spaces/home/records/todo/1", body)).problem(503, "too-busy")
        await talk.close()
        await until(lambda: server._lobby.held_bytes == 0)


async def test_stopping_ends_streams_in_good_order(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """The feed is closed, and its reader sees a whole answer."""
    server = await serve()
    talk, idle = await connect(), await connect()
    await talk.send(FEED)
    await talk.read_head()
    await until(lambda: service.open_feeds == 1)
    assert (await idle.ask("GET", "/v1/peers")).status == 200
    await server.stop()
    assert service.open_feeds == 0
    assert await talk.chunk() == b""
    assert await talk.at_end()
    assert await idle.at_end()
    await until(lambda: server.connections == 0)


async def test_stopping_waits_for_a_write_in_hand(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """Its caller is answered, and told that this was the last one."""
    service.gate = asyncio.Event()
    server = await serve()
    talk = await connect()
    await talk.send(PUT)
    await until(lambda: service.calls)
    stopping = asyncio.create_task(server.stop())
    await until(lambda: server._lobby.stopping)
    service.gate.set()
    reply = await talk.read()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    await stopping


async def test_stopping_does_not_wait_for_ever(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """A write that hangs and a reader that reads nothing are given up."""
    service.gate = asyncio.Event()
    server = await serve(limits={"stop_s": 0.1})
    stuck = await connect()
    await stuck.send(PUT)
    await until(lambda: service.calls)
    unread = await connect(limit=1_000)
    service.endless = service.feed_event
    await unread.send(FEED)
    await until(lambda: any(guest._writable for guest in server._lobby._guests))
    async with asyncio.timeout(10):
        await server.stop()
    await until(lambda: server.connections == 0)
    assert service.open_feeds == 0
    assert ("committed",) not in service.calls


async def test_stopping_ends_a_join(serve: Any, connect: Any, service: Any, until: Any) -> None:
    """It may be waiting for a person on the other side."""
    server = await serve()
    talk = await connect()
    body = b'{"code":"1","host":"nobody:1"}'
    await talk.send(b"POST /v1/joins HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await until(lambda: service.calls)
    await server.stop()
    assert service.join_ended.is_set()


async def test_no_timer_runs_for_nobody(serve: Any, connect: Any, until: Any) -> None:
    """An idle daemon sleeps."""
    server = await serve(limits={"tick_s": 0.01})
    assert server._lobby._timer is None
    talk = await connect()
    assert (await talk.ask("GET", "/v1/peers")).status == 200
    assert server._lobby._timer is not None
    await talk.close()
    await until(lambda: server._lobby._timer is None)


async def test_connections_leave_no_descriptors(serve: Any, connect: Any, until: Any) -> None:
    """Three hundred come and go, some in the middle of a request."""
    server = await serve()
    gc.collect()  # what earlier tests dropped closes now, not in between
    with socket.socket(socket.AF_UNIX) as first:
        lowest = first.fileno()
    for number in range(300):
        talk = await connect()
        if number % 3:
            await talk.send(b"GET /v1/pee" if number % 2 else FEED)
        await talk.close()
    await until(lambda: server.connections == 0)
    with socket.socket(socket.AF_UNIX) as last:
        assert last.fileno() == lowest
