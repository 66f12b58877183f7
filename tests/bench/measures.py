"""What is measured of real daemons. Each gives plain numbers; the table is made elsewhere."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.daemons import Daemon, pair, wait

Data = list[tuple[str, dict[str, Any]]]


class CatchUp(NamedTuple):
    seconds: float
    plain_bytes: float
    sent_bytes: float
    peak_rss_mib: float
    database_bytes: int


class _UnixHttp(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("peerd")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class Writer:
    """One keep-alive connection that writes records."""

    def __init__(self, daemon: Daemon) -> None:
        self._http = _UnixHttp(str(daemon.socket))

    def put(self, key: str, value: dict[str, Any]) -> None:
        body = json.dumps(value)
        self._http.request("PUT", f"/v1/spaces/home/records/bench/{key}", body, {"Content-Type": "application/json"})
        self._done()

    def transaction(self, data: Data) -> None:
        self._post_changes("transactions", data)

    def each(self, data: Data) -> None:
        """A transaction for each record; none may be refused."""
        results = json.loads(self._post_changes("writes", data))["results"]
        for result in results:
            if "error" in result:
                raise RuntimeError(result["error"])

    def _post_changes(self, resource: str, data: Data) -> bytes:
        changes = [{"kind": "put", "collection": "bench", "key": key, "value": value} for key, value in data]
        body = json.dumps({"changes": changes})
        self._http.request("POST", f"/v1/spaces/home/{resource}", body, {"Content-Type": "application/json"})
        return self._done()

    def text(self, target: str) -> str:
        self._http.request("GET", target)
        return self._http.getresponse().read().decode()

    def _done(self) -> bytes:
        answer = self._http.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(text.decode())
        return text

    def close(self) -> None:
        self._http.close()


def metric(daemon: Daemon, name: str) -> float:
    writer = Writer(daemon)
    try:
        lines = writer.text("/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and line[len(name)] in " {")
    finally:
        writer.close()


def fill(daemon: Daemon, data: Data, clients: int = 16) -> float:
    """Every record in a transaction of its own, by several clients at once; seconds."""
    started = time.perf_counter()
    threads = [threading.Thread(target=_put_all, args=(daemon, data[number::clients])) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def fill_in_runs(daemon: Daemon, data: Data, size: int = 1_000) -> float:
    """Every record in a transaction of its own, `size` of them in a request; seconds. The log then has full runs."""
    writer = Writer(daemon)
    started = time.perf_counter()
    for start in range(0, len(data), size):
        writer.each(data[start : start + size])
    seconds = time.perf_counter() - started
    writer.close()
    return seconds


def _put_all(daemon: Daemon, data: Data) -> None:
    writer = Writer(daemon)
    for key, value in data:
        writer.put(key, value)
    writer.close()


def catch_up(folder: Path, source: Daemon, count: int, name: str) -> CatchUp:
    """A fresh daemon joins `source` and receives everything through the log."""
    fresh = Daemon(folder, name)
    try:
        before = metric(source, "peerd_link_bulk_bytes"), metric(source, "peerd_link_bulk_sent_bytes")
        pair(source, fresh)
        started = time.perf_counter()
        first = fresh.space()["records"]
        wait(lambda: fresh.space()["records"] >= count, 900, 0.05)
        seconds = (time.perf_counter() - started) * count / max(1, count - first)
        plain, sent = metric(source, "peerd_link_bulk_bytes"), metric(source, "peerd_link_bulk_sent_bytes")
        peak = fresh.rss_mib(peak=True)
    finally:
        fresh.stop()
    return CatchUp(seconds, plain - before[0], sent - before[1], peak, fresh.database_bytes())


def one_at_a_time(daemon: Daemon, data: Data) -> list[float]:
    """Seconds of each write of one client."""
    writer = Writer(daemon)
    durations = []
    for key, value in data:
        started = time.perf_counter()
        writer.put(key, value)
        durations.append(time.perf_counter() - started)
    writer.close()
    return durations


def in_transactions(daemon: Daemon, data: Data, size: int = 1_000) -> float:
    writer = Writer(daemon)
    started = time.perf_counter()
    for start in range(0, len(data), size):
        writer.transaction(data[start : start + size])
    seconds = time.perf_counter() - started
    writer.close()
    return seconds


def latency(near: Daemon, far: Daemon, data: Data) -> list[float]:
    """Seconds from the start of a write on one device to its event on the other, on an otherwise idle link."""
    watcher = _UnixHttp(str(far.socket))
    watcher.request("GET", "/v1/spaces/home/changes?since=now&follow=1")
    stream = watcher.getresponse()
    stream.readline()  # current
    writer = Writer(near)
    durations = []
    for key, value in data:
        started = time.perf_counter()
        writer.put(key, value)
        while True:
            line = stream.readline().strip()
            if line and json.loads(line).get("key") == key:
                break
        durations.append(time.perf_counter() - started)
        time.sleep(0.005)
    writer.close()
    watcher.close()
    return durations


def idle(daemon: Daemon, seconds: float) -> tuple[float, float]:
    """(share of a core, RSS in MiB) of a connected daemon with nothing to do."""
    time.sleep(2)
    before = daemon.cpu_s()
    time.sleep(seconds)
    return (daemon.cpu_s() - before) / seconds, daemon.rss_mib()
