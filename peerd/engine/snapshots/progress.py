"""How a snapshot that is being taken in stands, for people: how much of it is here, and how long the rest will take."""

from __future__ import annotations

from collections import deque

from peerd.core.snapshots.intake import Progress

MARKS = 32
APART_S = 0.5
SETTLED_S = 1.0  # before that a rate is a guess


class Coming:
    """One from `maker`, who is b"" if nobody can say. The rate is that of the last quarter of a minute."""

    def __init__(self, maker: bytes, progress: Progress, now_s: float) -> None:
        self.maker = maker
        self.merging = False
        self.progress = progress
        self._marks: deque[tuple[float, int]] = deque([(now_s, progress.records)], maxlen=MARKS)

    def moved(self, progress: Progress, now_s: float) -> None:
        self.progress = progress
        if now_s - self._marks[-1][0] >= APART_S:
            self._marks.append((now_s, progress.records))

    def left_s(self, now_s: float) -> float | None:
        """What the rest of the records will take; None while nobody knows. It grows while nothing comes."""
        since_s, records = self._marks[0]
        came, elapsed_s = self.progress.records - records, now_s - since_s
        if self.merging or elapsed_s < SETTLED_S or came <= 0:
            return None
        return max(0, self.progress.expected - self.progress.records) * elapsed_s / came
