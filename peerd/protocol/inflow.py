"""The receiving half of a session: credit, and large runs that come in parts.

Credit that we gave is owed back when the bytes are applied or durably staged. A large run may be larger than all the
credit there is, so its parts are owed back when they come, all but the last one: otherwise one entry would stop a link
for ever [5]. While such a run waits to be applied, parts of the next one are owed until it is. So a session holds at
most one large entry and the credit, however fast they send.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from peerd.core.chain import Run
from peerd.core.limits import ENTRY_BYTES
from peerd.core.origin import Announcement, origin_of
from peerd.errors import RemoteProtocolError
from peerd.protocol.messages import CREDIT_BYTES, FRAME_BYTES, Entries, Part


class Taken(Struct, frozen=True):
    """What became of a part: credit to return now; and the run with what is owed for it, if this was its last one."""

    credit_bytes: int = 0
    run: Run | None = None
    introduced: list[Announcement] = []
    owed_bytes: int = 0


def announced(message: Entries, space: bytes) -> list[Announcement]:
    """The announcements of origins that have runs in it. Others may be made up without end, and nobody gives credit for
    them: they are not kept until these runs are applied.
    """
    if len(message.origins) <= len(message.runs):
        return list(message.origins)
    authors = {run.origin for run in message.runs}
    return [one for one in message.origins if origin_of(space, one) in authors]


class Inflow:
    def __init__(self) -> None:
        self._owed_bytes = 0
        self._applying: deque[tuple[int, bool]] = deque()  # owed for what is being applied, in order; is it large?
        self._parts: list[Part] = []
        self._parts_bytes = 0
        self._withheld_bytes = 0  # of parts

    def entries(self, message: Entries) -> int:
        """Account for a frame of runs; gives its size. Raises RemoteProtocolError if they had no credit for it."""
        size = sum(run.size_bytes for run in message.runs)
        self._owe(size)
        self._applying.append((size, False))
        return size

    def part(self, message: Part) -> Taken:
        """Take the next part. Raises RemoteProtocolError if it is not the next, or too much."""
        self._owe(len(message.data))
        self._withheld_bytes += len(message.data)
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
            return Taken(self._give_back())
        run = Run(message.origin, message.seq, (b"".join(part.data for part in self._parts),), message.signature)
        taken = Taken(0, run, self._parts[0].origins, self._withheld_bytes)
        self._applying.append((self._withheld_bytes, True))
        self._parts, self._parts_bytes, self._withheld_bytes = [], 0, 0
        return taken

    def release(self, size_bytes: int) -> int:
        """What was owed for `size_bytes` is applied or staged, in the order in which it came: the credit to return."""
        self._owed_bytes -= size_bytes
        left = size_bytes
        while self._applying and self._applying[0][0] <= left:
            left -= self._applying.popleft()[0]
        return size_bytes + self._give_back()

    def _give_back(self) -> int:
        """The parts that came are owed no longer, unless a large run waits."""
        if any(large for _, large in self._applying):
            return 0
        given, self._withheld_bytes = self._withheld_bytes, 0
        self._owed_bytes -= given
        return given

    def _owe(self, size_bytes: int) -> None:
        self._owed_bytes += size_bytes
        if self._owed_bytes > CREDIT_BYTES + FRAME_BYTES:
            raise RemoteProtocolError("more was sent than our credit allows", code="credit", close_code=4413)
