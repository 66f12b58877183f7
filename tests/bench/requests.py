"""A client that costs next to nothing, so that the daemon is measured and not whoever asks: requests are encoded
beforehand and sent in one piece, of an answer only its head and length are looked at.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from pathlib import Path
from typing import Any

Data = list[tuple[str, dict[str, Any]]]


def encoded(method: str, target: str, body: Any = None) -> bytes:
    """The bytes of a request."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {target} HTTP/1.1\r\nHost: peerd\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def put(key: str, value: dict[str, Any]) -> bytes:
    return encoded("PUT", f"/v1/spaces/home/records/bench/{key}", value)


def many(resource: str, data: Data) -> bytes:
    changes = [{"kind": "put", "collection": "bench", "key": key, "value": value} for key, value in data]
    return encoded("POST", f"/v1/spaces/home/{resource}", {"changes": changes})


class Asker:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self._arrived = b""

    def ask(self, request: bytes) -> bytes:
        """The body of the answer. Raises RuntimeError for any but a 2xx."""
        self.socket.sendall(request)
        while (body := self.take()) is None:
            pass
        return body

    def take(self) -> bytes | None:
        """What has arrived of an answer: its body when it is whole."""
        self._arrived += self.socket.recv(1 << 20)
        head, found, body = self._arrived.partition(b"\r\n\r\n")
        if not found:
            return None
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        if len(body) < length:
            return None
        self._arrived = b""
        if head[9:10] != b"2":
            raise RuntimeError(body.decode())
        return body

    def close(self) -> None:
        self.socket.close()


def all_at_once(path: Path, requests: list[bytes], clients: int) -> float:
    """Send `requests` over so many connections, each with one under way at a time; seconds."""
    selector = selectors.DefaultSelector()
    askers = [Asker(path) for _ in range(clients)]
    waiting = iter(requests)
    started = time.perf_counter()
    under_way = 0
    for asker in askers:
        selector.register(asker.socket, selectors.EVENT_READ, asker)
        asker.socket.sendall(next(waiting))
        under_way += 1
    while under_way:
        for key, _ in selector.select():
            asker = key.data
            if asker.take() is None:
                continue
            following = next(waiting, None)
            if following is None:
                under_way -= 1
            else:
                asker.socket.sendall(following)
    seconds = time.perf_counter() - started
    selector.close()
    for asker in askers:
        asker.close()
    return seconds
