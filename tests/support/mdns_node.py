"""A device that only discovers: run as a program inside a namespace, it writes what it sees as JSON lines.

    mdns_node.py PORT TAG PATTERN...

Every network change leads to a refresh, as in the daemon. On standard input: "announce NAME" and "announce" open and
close a pairing window, "stop" says goodbye and ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the checkout, if peerd is not installed

from peerd import logs
from peerd.discovery.interfaces import named
from peerd.discovery.mdns import Mdns
from peerd.discovery.network_changes import NetworkChanges
from peerd.discovery.sightings import Sighting


def say(event: str, **more: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **more}) + "\n")
    sys.stdout.flush()


def sighted(sighting: Sighting) -> None:
    say(
        "sighting",
        instance=sighting.instance,
        addresses=sighting.addresses,
        tags=[tag.hex() for tag in sighting.tags],
        name=sighting.pairing_name,
    )


async def run(port: int, tag: bytes, patterns: list[str]) -> None:
    mdns = Mdns(
        port=port,
        interfaces=patterns,
        on_sighting=sighted,
        on_gone=lambda instance: say("gone", instance=instance),
        random_bytes=os.urandom,
    )

    def tell_state() -> None:
        say("state", state=mdns.state, interfaces=mdns.interfaces, problem=mdns.problem)

    async def refresh() -> None:
        await mdns.refresh()
        tell_state()

    changed = asyncio.Event()
    changes = NetworkChanges(changed.set, wanted=partial(named, patterns=patterns))
    changes.start()
    await mdns.start()
    await mdns.announce(lambda _: [tag], None)
    tell_state()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)

    async def follow_network() -> None:
        while True:
            await changed.wait()
            changed.clear()
            await refresh()

    following = asyncio.create_task(follow_network())
    while line := (await commands.readline()).decode().split():
        if line[0] == "stop":
            break
        if line[0] == "announce":
            await mdns.announce(lambda _: [tag], line[1] if line[1:] else None)
    following.cancel()
    changes.stop()
    await mdns.stop()
    say("stopped")


if __name__ == "__main__":
    logs.configure("error")  # to stderr; standard output belongs to the test
    asyncio.run(run(int(sys.argv[1]), bytes.fromhex(sys.argv[2]), sys.argv[3:]))
