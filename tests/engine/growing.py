"""How large a file becomes by many updates of few records: `python -m tests.engine.growing [--updates 10000000]`.

Sixty days pass, each with its share of the updates and one round of housekeeping. In the end the file must not take
more than 2.5 times the data plus what is kept of the log and of the history; and when all that has gone too, not more
than 2.5 times the data.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from peerd.core.trimming import ACTIVE_MS
from peerd.protocol.control.messages import ChangeRequest
from tests.engine.conftest import Device, RunningHands, Wire

DAYS = 60
DAY_MS = 24 * 3600 * 1000
AT_ONCE = 500
MOST = 2.5


class Grown(NamedTuple):
    """In bytes: the records as JSON, what is kept of log and history, and the file; and the file without the latter."""

    data: int
    kept: int
    file: int
    file_alone: int

    @property
    def share(self) -> float:
        return self.file / (self.data + self.kept)

    @property
    def share_alone(self) -> float:
        return self.file_alone / self.data


async def grow(folder: Path, updates: int, records: int, history_days: int) -> Grown:
    """`folder` exists. Each record is about 200 bytes."""
    chance = random.Random(1)
    device = Device("desk", folder, Wire(), RunningHands(), threaded=True)
    device.housekeeping.history_days = lambda _: history_days
    await device.spaces.found("home")
    try:
        for _ in range(DAYS):
            for start in range(0, updates // DAYS, AT_ONCE):
                names = {f"{chance.randrange(records):016}" for _ in range(min(AT_ONCE, updates // DAYS - start))}
                await device.records.write(
                    [
                        ChangeRequest(
                            kind="put", collection="notes", key=name, value={"text": chance.randbytes(90).hex()}
                        )
                        for name in names
                    ]
                )
            await device.housekeeping.tidy(DAY_MS)
        sizes = await device.space.store.upkeep.sizes()
        data = records * len(json.dumps({"key": "0" * 16, "value": {"text": "x" * 180}}))
        device = await device.reopen()  # what is in the journal is moved into the file
        file = (await device.space.store.upkeep.sizes()).database_bytes
        await device.housekeeping.tidy(ACTIVE_MS)
        device = await device.reopen()
        alone = (await device.space.store.upkeep.sizes()).database_bytes
        return Grown(data, sizes.log_bytes + sizes.history_bytes, file, alone)
    finally:
        await device.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=10_000_000)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--history-days", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peerd-growing-") as name:
        grown = asyncio.run(grow(Path(name), options.updates, options.records, options.history_days))
    print(f"data {grown.data:,} B, log and history {grown.kept:,} B")
    print(f"file {grown.file:,} B: {grown.share:.2f} x; without log and history {grown.share_alone:.2f} x the data")
    return 0 if max(grown.share, grown.share_alone) <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
