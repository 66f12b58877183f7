"""Puts the parts together: the one function that the daemon calls, and it does no I/O but to read a kept wait."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from peerd.relay.cloudkit.client import Client, Place
from peerd.relay.cloudkit.gate import Gate, Times
from peerd.relay.cloudkit.keyfile import read_key
from peerd.relay.cloudkit.store import CloudKitStore


def open_cloudkit(place: Place, key_file: Path, state_dir: Path, times: Times) -> CloudKitStore:
    """The store of this container, for all spaces. A key that cannot be used is told by its first operation."""
    return CloudKitStore(Client(place, lambda: read_key(key_file), Gate(gate_file(state_dir, place), times), times))


def gate_file(state_dir: Path, place: Place) -> Path:
    """Where a wait that the service asked for is kept. A throttle is of the container, whatever the key."""
    of_container = blake2b(f"{place.base_url} {place.container}".encode(), digest_size=8).hexdigest()
    return state_dir / f"relay-cloudkit-{of_container}.json"
