"""What holds for a binding on this device only, kept beside its plan."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from peerd.core.tables.changes import Brake


class BindingSettings(Struct, frozen=True):
    """`merging`: the rows of the file and the records of the space have not met yet. `renewed`: the copy of the space
    is a new one, or out of a backup, and the file shows the one before; until others have filled it, it says nothing
    about the file's rows.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    brake: Brake = Brake()
    merging: bool = False
    renewed: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BindingSettings).decode


def encode_settings(settings: BindingSettings) -> bytes:
    return _encode(settings)


def decode_settings(data: bytes) -> BindingSettings:
    """Raises ValueError."""
    return _decode(data) if data else BindingSettings()
