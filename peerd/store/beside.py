"""Small files beside a database, for when it cannot be read; and making names durable."""

from __future__ import annotations

import os
from pathlib import Path

FILE_BYTES = 64 << 20


def write(path: Path, data: bytes) -> None:
    """Put `data` in the place of what stands at `path`, durably; a crash leaves one or the other. Raises OSError."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fdatasync(file.fileno())
    new.replace(path)


def read(path: Path) -> bytes:
    """What stands there. Raises OSError."""
    with path.open("rb") as file:
        return file.read(FILE_BYTES)


def sync_folder(directory: Path) -> None:
    """Make names in it durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
