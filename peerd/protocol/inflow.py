"""The receiving half of a session: credit, and large runs that come in parts.

Credit that we gave is owed back when the bytes are applied or durably staged; a part counts as staged when it is held
within the bound of one entry per session. Otherwise one entry larger than the credit would stop a link for ever.
"""

from __future__ import annotations

from peerd.core.chain import Run
from peerd.core.limits import ENTRY_BYTES
from peerd.core.origin import Announcement
from peerd.errors import RemoteProtocolError
from peerd.protocol.messages import CREDIT_BYTES, FRAME_BYTES, Entries, Part


class Inflow:
    def __init__(self) -> None:
        self._owed_bytes = 0
        self._parts: list[Part] = []
        self._parts_bytes = 0

    def entries(self, message: Entries) -> int:
        """Account for a frame of runs; gives its size. Raises RemoteProtocolError if they had no credit for it."""
        size = sum(run.size_bytes for run in message.runs)
        self._owe(size)
        return size

    def part(self, message: Part) -> tuple[Run, list[Announcement]] | None:
        """Take the next part; gives the run when it is complete. The bytes of a part are owed back at once."""
        self._owe(len(message.data))
        self._owed_bytes -= len(message.data)
        if message.number == 0:
            self._parts, self._parts_bytes = [], 0
        first = self._parts[0] if self._parts else message
        expected = (first.origin, first.seq, first.count, len(self._parts))
        if (message.origin, message.seq, message.count, message.number) != expected:
            raise RemoteProtocolError("a part does not follow the one before it", code="malformed")
        self._parts_bytes += len(message.data)
        if self._parts_bytes > ENTRY_BYTES:
            raise RemoteProtocolError("the parts of an entry exceed 64 MiB", code="too-large", close_code=4413)
        self._parts.append(message)
        if len(self._parts) < message.count:
            return None
        whole = b"".join(part.data for part in self._parts)
        introduced = self._parts[0].origins
        self._parts, self._parts_bytes = [], 0
        return Run(message.origin, message.seq, (whole,), message.signature), introduced

    def release(self, size_bytes: int) -> None:
        self._owed_bytes -= size_bytes

    def _owe(self, size_bytes: int) -> None:
        self._owed_bytes += size_bytes
        if self._owed_bytes > CREDIT_BYTES + FRAME_BYTES:
            raise RemoteProtocolError("more was sent than our credit allows", code="credit", close_code=4413)
