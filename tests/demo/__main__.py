"""The demo: three real daemons on this machine meet, share data, part, disagree and agree again.

    python -m tests.demo [--keep]

First an ordinary to-do program that knows nothing of peerd, then records as a program of peerd's own would write them.
Each daemon has its own folder, identity and port; nothing outside a temporary folder is touched, and nothing leaves
the machine. Every step says in one line what happens; anything unexpected ends the demo with exit code 1.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.demo import of_records, of_tables
from tests.demo.devices import DemoFailed, Device, in_sync, pair, say, wait_for

NAMES = ("kitchen", "office", "laptop")


def meet(devices: list[Device]) -> None:
    kitchen, office, laptop = devices
    for device in devices:
        device.start()
    say("three daemons run: kitchen, office and laptop, each with its own key and folder")
    kitchen.ctl("space", "create", "home")
    found = [pair(kitchen, office), pair(office, laptop)]
    if all(found):
        say("they found each other by mDNS; nobody typed an address")
    else:
        say("multicast is not possible here, so the addresses were given by hand")
        for device in devices:
            device.write_config([other.address() for other in devices if other is not device])
            device.ctl("reload")
    wait_for(
        lambda: all(len(device.space()["peers"]) == 2 for device in devices) and in_sync(devices), "all are linked"
    )
    say("kitchen and laptop were never paired: they know each other through office, and are linked too")


def report(devices: list[Device]) -> None:
    say("at the end:")
    print("         device   state    records  conflicts  digest")
    for device in devices:
        space = device.space()
        counts = f"{space['records']:7}  {space['conflicts']:9}"
        print(f"         {device.name:8} {space['state']:8} {counts}  {space['digest']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the folders and logs")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="peerd-demo-"))
    devices = [Device(folder, name) for name in NAMES]
    failed = False
    try:
        meet(devices)
        of_tables.play(devices)
        of_records.play(devices, folder)
        report(devices)
    except (DemoFailed, KeyboardInterrupt) as problem:
        failed = True
        print(f"the demo failed: {problem or 'interrupted'}; logs are in {folder}", file=sys.stderr)
    finally:
        for device in devices:
            device.stop()
        if not keep and not failed:
            shutil.rmtree(folder, ignore_errors=True)
    if not failed:
        say(f"done; {folder} is {'kept' if keep else 'removed'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
