"""What is said on the control socket about backups, as JSON; a backup itself says the same of what it holds.

The same rules as in `messages`, where what is said about data stands.
"""

from __future__ import annotations

from msgspec import Struct

from peerd.protocol.control.messages import Request


class NewBackup(Request):
    """`path`: the folder that the daemon is to make, an absolute path. `keys`: with the keys of the device, which make
    whoever reads them this device.
    """

    path: str
    keys: bool = False


class BackedUp(Struct, kw_only=True):
    """A space that is in the backup."""

    name: str
    id: str
    size_bytes: int = 0


class NotBackedUp(Struct, kw_only=True):
    """A space that is on this device and not in the backup."""

    name: str
    reason: str
    next_step: str = ""


class BackupOf(Struct, kw_only=True):
    """Of which device a backup is and what it holds. `made_ms`: by the wall clock of that device."""

    version: str
    device: str
    device_name: str
    made_ms: int
    spaces: list[BackedUp]
    lacking: list[NotBackedUp] = []


class BackupMade(Struct, kw_only=True):
    """A backup that is whole, at `path`."""

    path: str
    keys: bool
    backup: BackupOf


class BackupEvent(Struct, kw_only=True, omit_defaults=True):
    """One line of a backup in the making: how much of which space is copied; in the last line `made`."""

    space: str = ""
    copied_bytes: int = 0
    all_bytes: int = 0
    made: BackupMade | None = None
