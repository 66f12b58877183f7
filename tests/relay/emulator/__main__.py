"""An emulator to try things with by hand, until it is interrupted.

    python -m tests.relay.emulator --port 8400 --key-file /tmp/cloudkit.pem

It prints a section of configuration that leads to it. Everything it holds is gone when it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from contextlib import suppress
from pathlib import Path

from tests.relay.emulator.server import CONTAINER, Emulator


async def run(port: int, key_file: Path, rate: float, seed: int) -> None:
    emulator = Emulator()
    key_id, pem = emulator.new_key()
    with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(pem)
    emulator.faults.weather(rate, seed)
    await emulator.start(port=port)
    print(
        "[relay.cloudkit]\n"
        f'container = "{CONTAINER}"\n'
        f'key_id = "{key_id}"\n'
        f'key_file = "{key_file}"\n'
        f'base_url = "{emulator.base_url}"',
        flush=True,
    )
    try:
        await asyncio.Event().wait()
    finally:
        await emulator.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.relay.emulator", description="CloudKit on this machine.")
    parser.add_argument("--port", type=int, default=8400, help="of the API; the next one serves assets")
    parser.add_argument("--key-file", type=Path, default=Path("cloudkit-emulator.pem"), help="is written")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests that fail somehow, 0 to 1")
    parser.add_argument("--seed", type=int, default=1, help="which of them")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(run(options.port, options.key_file.absolute(), options.faults, options.seed))


if __name__ == "__main__":
    main()
