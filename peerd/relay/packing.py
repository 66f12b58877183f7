"""What is encrypted of an object: its bytes, compressed if that is worth it, and zeros up to a size that says little.

    [1 if compressed, else 0] [length of what follows, 4 bytes] [bytes] [zeros]

How far something is compressed depends on its contents, and only the padded size is seen. Nobody outside the space can
have text of his own compressed beside a secret and try again as often as he likes, so nothing is to be learnt from it.
"""

from __future__ import annotations

import zstandard

from peerd.core.padding import padded_size
from peerd.errors import LocalProtocolError, RemoteProtocolError
from peerd.protocol.relay.objects import OBJECT_BYTES

PLAIN_BYTES = 2 << 20  # of an object before compression; whoever decompresses one stops there

_HEADER_BYTES = 5
_PLAIN, _ZSTD = 0, 1
_LEVEL = 3


def pack(plaintext: bytes, around_bytes: int) -> bytes:
    """What to encrypt, of a size at which it and `around_bytes` of envelope together are padded.

    Raises LocalProtocolError for more than an object may hold: whoever makes objects makes them small enough.
    """
    if len(plaintext) > PLAIN_BYTES:
        raise LocalProtocolError(f"an object of {len(plaintext)} bytes for a relay", code="too-large")
    squeezed = zstandard.ZstdCompressor(level=_LEVEL).compress(plaintext)
    kind, body = (_ZSTD, squeezed) if len(squeezed) < len(plaintext) else (_PLAIN, plaintext)
    size_bytes = padded_size(around_bytes + _HEADER_BYTES + len(body))
    if size_bytes > OBJECT_BYTES:
        raise LocalProtocolError(f"an object of {len(body)} bytes for a relay, compressed", code="too-large")
    header = bytes([kind]) + len(body).to_bytes(4, "big")
    return (header + body).ljust(size_bytes - around_bytes, b"\0")


def unpack(packed: bytes) -> bytes:
    """What was packed. Raises RemoteProtocolError "malformed" for what `pack` does not make."""
    length = int.from_bytes(packed[1:_HEADER_BYTES], "big")
    if len(packed) < _HEADER_BYTES + length:
        raise _malformed("it is shorter than it says")
    body = packed[_HEADER_BYTES : _HEADER_BYTES + length]
    match packed[0]:
        case 0:
            return body
        case 1:
            return _decompressed(body)
    raise _malformed("it is packed in a way that this version does not know")


def _decompressed(body: bytes) -> bytes:
    """At most PLAIN_BYTES, whatever size is declared: the reader stops making more."""
    try:
        declared = zstandard.frame_content_size(body)
        plain = zstandard.ZstdDecompressor(max_window_size=PLAIN_BYTES).stream_reader(body).read(PLAIN_BYTES + 1)
    except zstandard.ZstdError as problem:
        raise _malformed(f"its compression is damaged: {problem}") from None
    if len(plain) != declared or declared > PLAIN_BYTES:
        raise _malformed("it is larger or smaller than it says")
    return plain


def _malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"An object of a relay opens and makes no sense: {why}.", code="malformed")
