"""What the same machine does without peerd, in the same minutes.

*Floor*: records read from one SQLite file, sent over a WebSocket, inserted into another in batches of 1,000 with plain
aiosqlite, `synchronous=FULL`, 64 MiB page cache, random 16-byte keys; no log, no merging, no TLS; two processes.
*Commit loop*: plain `sqlite3`, one small row per FULL commit.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import aiosqlite
import msgspec
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

BATCH = 1_000
_PRAGMAS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA cache_size=-65536")
_TABLE = "CREATE TABLE record (key TEXT PRIMARY KEY, value TEXT)"


class FloorResult(NamedTuple):
    seconds: float
    wire_bytes: int
    near_cpu_s: float
    far_cpu_s: float


def records(count: int, seed: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """Records of about 200 bytes of JSON under random 16-byte keys."""
    chance = random.Random(seed)
    words = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty")
    found = []
    for number in range(count):
        value = {
            "title": f"{chance.choice(words)} {chance.choice(words)} {number}",
            "done": chance.random() < 0.5,
            "rank": chance.randrange(1 << 20),
            "price": round(chance.uniform(1, 1000), 2),
            "note": " ".join(chance.choice(words) for _ in range(14)),
            "tag": f"{chance.getrandbits(64):016x}",
        }
        found.append((f"{chance.getrandbits(64):016x}", value))
    return found


def prepare(path: Path, data: list[tuple[str, dict[str, Any]]]) -> int:
    """A source database; gives the bytes of JSON in it."""
    rows = [(key, json.dumps(value, separators=(",", ":"))) for key, value in data]
    with sqlite3.connect(path) as connection:
        connection.execute(_TABLE)
        connection.executemany("INSERT INTO record VALUES (?, ?)", rows)
    connection.close()
    return sum(len(key) + len(value) for key, value in rows)


async def receive(path: Path, port_to: asyncio.Future[int], count: int) -> int:
    """The far end: inserts what comes; gives the bytes that came."""
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def handle(socket: ServerConnection) -> None:
        async with aiosqlite.connect(path, isolation_level=None) as database:
            for pragma in _PRAGMAS:
                await database.execute(pragma)
            await database.execute(_TABLE)
            arrived, size = 0, 0
            while arrived < count:
                frame = await socket.recv()
                assert isinstance(frame, bytes)
                size += len(frame)
                rows = msgspec.msgpack.decode(frame)
                await database.execute("BEGIN IMMEDIATE")
                await database.executemany("INSERT INTO record VALUES (?, ?)", rows)
                await database.execute("COMMIT")
                arrived += len(rows)
                await socket.send(str(arrived))
            done.set_result(size)

    async with serve(handle, "127.0.0.1", 0, compression=None, max_size=1 << 24) as server:
        port_to.set_result(next(iter(server.sockets)).getsockname()[1])
        return await done


async def send(path: Path, port: int, count: int) -> float:
    """The near end, in the measuring process: seconds from the first read to the last acknowledgement."""
    async with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=1 << 24, proxy=None) as socket:
        started = time.perf_counter()
        async with aiosqlite.connect(path) as database, database.execute("SELECT key, value FROM record") as cursor:
            acknowledged = 0
            in_flight = 0
            while rows := await cursor.fetchmany(BATCH):
                await socket.send(msgspec.msgpack.encode([tuple(row) for row in rows]))
                in_flight += 1
                while in_flight > 4:
                    acknowledged = int(await socket.recv())
                    in_flight -= 1
            while acknowledged < count:
                acknowledged = int(await socket.recv())
        return time.perf_counter() - started


async def run_floor(source: Path, count: int) -> FloorResult:
    """One run, with the receiver in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.floor", str(Path(folder) / "to.db"), str(count),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None
        port = int(await child.stdout.readline())
        near_cpu_s = time.process_time()
        seconds = await send(source, port, count)
        near_cpu_s = time.process_time() - near_cpu_s
        size, far_cpu_s = (await child.stdout.readline()).split()
        await child.wait()
    return FloorResult(seconds, int(size), near_cpu_s, float(far_cpu_s))


def commit_loop(seconds: float = 1.0) -> list[float]:
    """Durations in seconds of single-row FULL commits."""
    durations = []
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "loop.db", isolation_level=None)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        connection.execute(_TABLE)
        ends = time.perf_counter() + seconds
        number = 0
        while (started := time.perf_counter()) < ends:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO record VALUES (?, ?)", (f"{number:016x}", "x" * 200))
            connection.execute("COMMIT")
            durations.append(time.perf_counter() - started)
            number += 1
        connection.close()
    return durations


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def _main() -> None:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    port.add_done_callback(lambda done: print(done.result(), flush=True))
    began_s = time.process_time()
    size = await receive(Path(sys.argv[1]), port, int(sys.argv[2]))
    print(size, time.process_time() - began_s, flush=True)


if __name__ == "__main__":
    asyncio.run(_main())

__all__ = ["commit_loop", "median", "percentile", "prepare", "records", "run_floor"]
