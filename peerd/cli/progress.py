"""A bar on the terminal that says how much is done and how long the rest will take."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Final, Self, TextIO

from peerd.cli.text import span

if TYPE_CHECKING:
    from collections.abc import Callable

_REDRAW_S: Final = 0.1
# Before this much time has passed a rate is a guess, and so would be what is derived from it.
_SETTLED_S: Final = 1.0
_BAR_COLUMNS: Final = 24


class Progress:
    """Progress of one job; silent unless `stream` is a terminal.

    `total` is the whole work in any unit, None if unknown; the remaining time is the remaining work at the
    rate so far. Use as a context manager: the bar is gone afterwards, whatever happens.
    """

    def __init__(
        self,
        stream: TextIO,
        total: int | None,
        *,
        shown: bool = True,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._total = total
        self._shown = shown and stream.isatty()
        self._now_s = now_s
        self._started_s = now_s()
        self._drawn_s = float("-inf")
        self._anything_drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._anything_drawn:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()

    def of(self, total: int) -> None:
        """The whole work, as far as it is known now."""
        self._total = total

    def advance(self, done: int, records: int, left_s: float | None = None) -> None:
        """State how much of `total` is done and how many records that is; draws at most ten times a second. `left_s`
        is what the rest takes, for whoever knows better.
        """
        now_s = self._now_s()
        if not self._shown or now_s - self._drawn_s < _REDRAW_S:
            return
        self._drawn_s = now_s
        self._anything_drawn = True
        columns = shutil.get_terminal_size().columns
        self._stream.write("\r\x1b[2K" + self.line(done, records, left_s)[: columns - 1])
        self._stream.flush()

    def line(self, done: int, records: int, left_s: float | None = None) -> str:
        """The bar as text."""
        elapsed_s = self._now_s() - self._started_s
        rate = f"{records / elapsed_s:,.0f}/s" if elapsed_s > 0 else ""
        counts = f"{records:,} records  {rate}".rstrip()
        if not self._total:
            return f"{counts}  {span(elapsed_s)}"
        share = min(1.0, done / self._total)
        full = round(share * _BAR_COLUMNS)
        bar = "#" * full + "-" * (_BAR_COLUMNS - full)
        left = self._remaining(done, elapsed_s) if left_s is None else f"{span(left_s)} left"
        return f"[{bar}] {share:4.0%}  {counts}  {left}".rstrip()

    def _remaining(self, done: int, elapsed_s: float) -> str:
        if not self._total or not done or elapsed_s < _SETTLED_S:
            return ""
        return f"{span((self._total - done) * elapsed_s / done)} left"
