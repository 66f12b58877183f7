"""A gate before the mDNS parser: what cannot concern us is dropped as bytes.

Anybody on the link can make a responder work and remember. Everything that peerd says or asks has the letters
"peerd" in one of its names, fits one Ethernet frame and, if it is an answer, comes from port 5353 (RFC 6762 section
6). The rest of a busy network's chatter costs one search in a few hundred bytes. What remains is limited in rate and
in records per packet, so that the library's cache cannot be turned over faster than it forgets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PACKET_BYTES: Final = 1500
MAX_RECORDS: Final = 64
PACKETS_PER_S: Final = 100.0
BURST_PACKETS: Final = 400.0

MARK: Final = b"peerd"
_MDNS_PORT: Final = 5353
_HEADER_BYTES: Final = 12
_RESPONSE, _TRUNCATED = 0x80, 0x02  # in the third byte


class Allowance:
    """A token bucket: `PACKETS_PER_S` on average, `BURST_PACKETS` at once."""

    def __init__(self, now_s: float) -> None:
        self._left = BURST_PACKETS
        self._filled_s = now_s

    def take(self, now_s: float) -> bool:
        """Whether one more packet may pass at `now_s`."""
        self._left = min(BURST_PACKETS, self._left + (now_s - self._filled_s) * PACKETS_PER_S)
        self._filled_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


def concerns_us(packet: bytes, source_port: int) -> bool:
    """Whether the bytes can be a question or an answer about peerd. Says nothing about their being well-formed."""
    if not _HEADER_BYTES < len(packet) <= MAX_PACKET_BYTES or MARK not in packet:
        return False
    if packet[2] & _RESPONSE:
        records = sum(int.from_bytes(packet[at : at + 2]) for at in (4, 6, 8, 10))
        return source_port == _MDNS_PORT and records <= MAX_RECORDS
    # A question with a list of known answers in several packets would have to be kept until its last part comes.
    return not packet[2] & _TRUNCATED


class Gate(asyncio.DatagramProtocol):
    """Stands between a transport and the library's protocol object."""

    def __init__(
        self, inner: asyncio.DatagramProtocol, allowance: Allowance, on_error: Callable[[OSError], None]
    ) -> None:
        self._inner = inner
        self._allowance = allowance
        self._on_error = on_error
        self._now_s = asyncio.get_running_loop().time
        self.closed = False

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if not self.closed and concerns_us(data, addr[1]) and self._allowance.take(self._now_s()):
            self._inner.datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        # A send that failed at once; the library would write a traceback for it.
        if isinstance(exc, OSError):
            self._on_error(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
