"""Bytes ↔ messages of a link, within limits.

A frame is at most 1 MiB, before and after decompression. A compressed frame is a Zstandard frame (RFC 8878) around a
plain one; a plain one begins with the byte of a three-element array, so the two cannot be confused. Decompression
stops after so many bytes, whatever size the frame declares: that is a claim of its author.
"""

from __future__ import annotations

import msgspec
import zstandard
from msgspec import Raw

from peerd.errors import RemoteProtocolError
from peerd.protocol import messages
from peerd.protocol.messages import FRAME_BYTES, OPTIONAL_TYPES, Message

ZSTD = "zstd"  # the capability
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_WORTH_BYTES = 400

_encoder = msgspec.msgpack.Encoder()
_frame_decoder = msgspec.msgpack.Decoder(tuple[int, int, Raw])
_bodies = {kind.type: msgspec.msgpack.Decoder(kind) for kind in messages.ALL}
_compressor = zstandard.ZstdCompressor(level=1)


def encode(message: Message, request: int = 0) -> bytes:
    """One plain frame."""
    return _encoder.encode((message.type, request, message))


def compress(frame: bytes) -> bytes:
    """The frame compressed, if that is worth it."""
    return _compressor.compress(frame) if len(frame) > _WORTH_BYTES else frame


def decode(frame: bytes) -> Message | None:
    """The message in a frame of a peer; None if it is of an optional type that this version does not know.

    Raises:
        RemoteProtocolError: the frame is too large, malformed, or of an unknown type that is not optional.
    """
    if len(frame) > FRAME_BYTES:
        raise RemoteProtocolError("a frame is larger than 1 MiB", code="too-large", close_code=4413)
    if frame[:4] == _ZSTD_MAGIC:
        frame = _decompress(frame)
    try:
        kind, _, body = _frame_decoder.decode(frame)
        decoder = _bodies.get(kind)
        if decoder is not None:
            return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
        raise RemoteProtocolError(f"a frame cannot be decoded: {problem}", code="malformed") from None
    if kind >= OPTIONAL_TYPES:
        return None
    raise RemoteProtocolError(f"a message of type {kind}, which this version does not know", code="unsupported")


def _decompress(frame: bytes) -> bytes:
    """At most FRAME_BYTES of plain frame; the reader stops making more."""
    reader = zstandard.ZstdDecompressor(max_window_size=8 << 20).stream_reader(frame)
    try:
        plain = reader.read(FRAME_BYTES + 1)
    except zstandard.ZstdError as problem:
        raise RemoteProtocolError(f"a compressed frame is damaged: {problem}", code="malformed") from None
    if len(plain) > FRAME_BYTES:
        raise RemoteProtocolError("a frame grows beyond 1 MiB", code="too-large", close_code=4413)
    return plain
