"""Which machine this is, and which start of its kernel."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from msgspec import Struct

_TAG = b"peerd/1 machine"


class Machine(Struct, frozen=True):
    machine: str
    boot: str


def this_machine() -> Machine:
    """Of the machine id only a hash is kept: machine-id(5) asks not to store it as it is."""
    made_of = _read(Path("/etc/machine-id")) or _read(Path("/var/lib/dbus/machine-id"))
    machine = blake2b(made_of.encode(), key=_TAG, digest_size=16).hexdigest() if made_of else ""
    return Machine(machine, _read(Path("/proc/sys/kernel/random/boot_id")))


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
