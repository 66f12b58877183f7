"""How much of what waits is written into an application's file at once.

A projection holds the file's write lock, and the application waits. So it takes whole transactions up to a number of
rows, one at least, and the number follows what the machine has shown it can do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from peerd.core.tables.changes import Applied, RowImage

MOST_ROWS = 1_000
LONGEST_MS = 50.0
_FEWEST_ROWS = 20


class Step(Struct, frozen=True):
    """The images of one transaction of the space, or of several, and how far the log is shown with them."""

    images: tuple[RowImage, ...]
    applied: Applied


class Portions:
    """Cuts what waits into portions. Time is told, not read."""

    def __init__(self) -> None:
        self.most_rows = MOST_ROWS

    def of(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Whole steps joined to portions of at most `most_rows`, unless one step alone is larger. Of a record that
        occurs in several only the last image is left.
        """
        waiting: dict[tuple[str, str], RowImage] = {}
        applied: Applied | None = None
        for step in steps:
            joined = waiting | {(one.collection, one.key): one for one in step.images}
            if applied is not None and len(joined) > self.most_rows:
                yield _step(list(waiting.values()), applied)
                joined = {(one.collection, one.key): one for one in step.images}
            waiting, applied = joined, step.applied
        if applied is not None:
            yield _step(list(waiting.values()), applied)

    def took(self, rows: int, duration_ms: float) -> None:
        """A portion of `rows` held the lock that long. Slower than it should be: smaller ones from now on; fast: larger
        ones, by a quarter.
        """
        if rows and duration_ms > LONGEST_MS:
            fitting = int(rows * LONGEST_MS / duration_ms)
            self.most_rows = max(_FEWEST_ROWS, min(self.most_rows, fitting))
        elif rows >= self.most_rows // 2 and duration_ms < LONGEST_MS / 2:
            self.most_rows = min(MOST_ROWS, self.most_rows + self.most_rows // 4)


def _step(images: Sequence[RowImage], applied: Applied) -> Step:
    return Step(tuple(images), applied)
