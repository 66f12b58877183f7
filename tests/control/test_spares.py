"""Somebody can ask even when no descriptor is left."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from peerd.control.spares import COUNT, Listener, Spares


def opened() -> set[int]:
    return {int(one) for one in os.listdir("/proc/self/fd")}  # noqa: PTH208 - numbers are wanted


@contextmanager
def none_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(opened()) + 1, before[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/", os.O_PATH))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for one in taken:
            os.close(one)


def test_what_is_kept_back_is_given_and_taken_again() -> None:
    before = opened()
    spares = Spares(2)
    assert len(opened()) == len(before) + 2
    assert spares.give()
    assert spares.give()
    assert not spares.give()
    spares.fill()
    assert len(spares) == 2
    with none_left():
        assert spares.give()
        with closing(socket.socket()):
            spares.fill()
            assert len(spares) == 1
        spares.fill()
        assert len(spares) == 2
    spares.drop()
    spares.fill()
    assert opened() == before


def test_a_listener_lets_in_whoever_comes_when_no_descriptor_is_left(tmp_path: Path) -> None:
    """As many at a time as were kept back, and others when those have gone; who is not there takes nothing."""
    before = opened()
    clients = [socket.socket(socket.AF_UNIX) for _ in range(2 * COUNT)]
    guests = []
    with Listener(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(2 * COUNT)
        listener.setblocking(False)
        with none_left():
            for _ in range(3):
                with pytest.raises(BlockingIOError):
                    listener.accept()
            for client in clients:
                client.connect(str(tmp_path / "s"))
            guests += [listener.accept()[0] for _ in range(COUNT)]
            with pytest.raises(OSError, match="Too many open files"):
                listener.accept()
            guests.pop(0).close()
            with pytest.raises(OSError, match="Too many open files"):
                os.open("/", os.O_PATH)
            guests.append(listener.accept()[0])
            guests[-1].send(b"here")
            assert clients[COUNT].recv(10) == b"here"
        while len(guests) < 2 * COUNT - 1:
            guests.append(listener.accept()[0])
    for one in (*guests, *clients):
        one.close()
    assert opened() == before


async def test_a_request_is_answered_when_no_descriptor_is_left(serve: Any, service: Any) -> None:
    """By the whole server, several times."""
    server = await serve()
    path = server._socket_path
    clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    loop = asyncio.get_running_loop()
    with none_left():
        for client in clients:
            client.setblocking(False)
            await loop.sock_connect(client, str(path))
            await loop.sock_sendall(client, b"GET /v1/status HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200")
            client.close()
    assert [call[0] for call in service.calls] == ["status"] * 3
