"""A CloudKit relay for tests: on an emulator of its own, or in a real container that the environment names.

    PEERD_CLOUDKIT_CONTAINER     iCloud....: a container without anything that matters
    PEERD_CLOUDKIT_KEY_ID        of a server-to-server key that is registered for it
    PEERD_CLOUDKIT_KEY_FILE      its private half
    PEERD_CLOUDKIT_ENVIRONMENT   development unless named

Each factory is given an empty folder and gives, while its context lasts, a function that opens one more way to the same
relay: a `Factory` of `tests/relay/backends.py`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from peerd.clock import Clock
from peerd.relay.cloudkit.client import Place
from peerd.relay.cloudkit.opening import open_cloudkit
from peerd.relay.cloudkit.store import CloudKitStore
from tests.relay.emulator.server import CONTAINER, Emulator

Open = Callable[[], CloudKitStore]

REAL = "PEERD_CLOUDKIT_CONTAINER"
NOT_REAL = f"no real container: {REAL}, PEERD_CLOUDKIT_KEY_ID and PEERD_CLOUDKIT_KEY_FILE name one"


def has_real_container() -> bool:
    return bool(os.environ.get(REAL))


@asynccontextmanager
async def emulated(folder: Path) -> AsyncIterator[Open]:
    async with Emulator() as emulator:
        place, key_file = new_account(emulator, folder)
        yield _opener(place, key_file, folder)


@asynccontextmanager
async def real(folder: Path) -> AsyncIterator[Open]:
    """What tests leave in the container is theirs to remove."""
    place = Place(
        os.environ[REAL],
        os.environ.get("PEERD_CLOUDKIT_ENVIRONMENT", "development"),
        os.environ["PEERD_CLOUDKIT_KEY_ID"],
    )
    yield _opener(place, Path(os.environ["PEERD_CLOUDKIT_KEY_FILE"]), folder)


def new_account(emulator: Emulator, folder: Path) -> tuple[Place, Path]:
    """A key of the emulator's container, in a file of this folder."""
    key_id, pem = emulator.new_key()
    key_file = folder / f"{key_id[:8]}.pem"
    key_file.touch(0o600)
    key_file.write_bytes(pem)
    return Place(CONTAINER, "production", key_id, emulator.base_url), key_file


def _opener(place: Place, key_file: Path, folder: Path) -> Open:
    opened = 0

    def open_one() -> CloudKitStore:
        nonlocal opened
        opened += 1
        state = folder / f"device-{opened}"
        state.mkdir()
        return open_cloudkit(place, key_file, state, Clock())

    return open_one
