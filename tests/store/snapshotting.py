"""The engine's part in taking in a snapshot, in a few lines; and a process that does it and dies:
`snapshotting.py FOLDER PARTS [FAILPOINT NUMBER]`, as in `crashing.py`.

It writes a transaction of its own after each step, and prints its number when that is durable.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from peerd.core import digest
from peerd.core.batch import Reader
from peerd.core.snapshots.intake import Authority, Intake, SideWrites, Standing
from peerd.core.snapshots.merge import NO_DOUBTS
from peerd.core.snapshots.parts import Begin, End, Ends, Joiner, Origins, Part, Records, encode
from peerd.core.snapshots.stored import Phase
from peerd.core.stored import Recopy
from tests.store.copies import SPACE, Copy, write_number
from tests.store.crashing import die_at

ID = b"snapshot of ours"
AUTHORITY = Authority(lambda _: True, lambda *_: None, lambda *_: True)


async def made(copy: Copy) -> list[Part]:
    """The parts of a copy that nobody writes to."""
    store = copy.store.snapshots
    start = await store.start({})
    parts: list[Part] = [Begin(SPACE, records=start.records), Origins(start.origins), Ends(start.ends)]
    cursor = (0, "")
    while True:
        read = await store.rows(cursor, 2_000, 1 << 30)
        if read.groups:
            parts.append(Records(read.groups))
        if read.cursor is None:
            return [*parts, End(digest.summary(read.digest), read.records)]
        cursor = read.cursor


def take(intake: Intake, part: Part, standing: Standing, reader: Reader, *, size_bytes: int = 0) -> SideWrites:
    return intake.take(standing, part, reader, size_bytes)


async def take_in(copy: Copy, parts: Sequence[Part], between: Callable[[], Awaitable[None]]) -> None:
    """From wherever an earlier life stopped, to the end."""
    store, intake = copy.store.snapshots, Intake(SPACE, AUTHORITY)
    found = await store.incoming()
    if found is None:
        await store.begin(ID, b"maker")
        await between()
    if found is None or found.phase < Phase.CLEARING:
        standing = found.standing if found is not None else Standing()
        number = found.parts if found is not None else 0
        for part in parts[number:]:
            number += 1
            standing = await store.take(standing, partial(take, intake, part), number)
            await between()
        standing, position = await store.merge(standing, NO_DOUBTS)
        await between()
        copy.state = (await store.switch(standing, position, os.urandom(16), NO_DOUBTS)).state
        await between()
    while await store.clear_some(1_000):
        await between()


async def put_in_place(copy: Copy, parts: Sequence[Part]) -> None:
    """Instead of what is there, whose history is another one."""
    store, intake = copy.store.snapshots, Intake(SPACE, AUTHORITY)
    await store.begin(ID, b"maker")
    standing = Standing()
    for number, part in enumerate(parts, 1):
        standing = await store.take(standing, partial(take, intake, part), number)
    recopy = Recopy("aside", removes=True, forked=True)
    copy.state = (await store.replace(standing, os.urandom(16), {}, recopy)).state
    while await store.clear_some(1_000):
        pass


async def main(folder: Path, parts: bytes, *fail_point: str) -> None:
    copy = Copy(folder, threaded=True)
    copy.chance.seed(os.getpid())
    joiner = Joiner()
    coming = [joiner.take(data) for data in msgspec.msgpack.decode(parts)]
    if fail_point:
        die_at(fail_point[0], int(fail_point[1]))
    await copy.open()
    counts = {one.name: one.records for one in await copy.store.collections()}
    number = counts.get("todo", 1) - 1  # without the record that all of them change

    async def write() -> None:
        nonlocal number
        await write_number(copy, number)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1

    await take_in(copy, [part for part in coming if part is not None], write)
    await copy.store.close()


def pack(parts: Sequence[Part]) -> bytes:
    return msgspec.msgpack.encode([data for part in parts for data in encode(part)])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), *sys.argv[3:]))
