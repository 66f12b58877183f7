"""The table that is printed: while it grows, and as a whole at the end."""

from __future__ import annotations


class Table:
    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, str]] = []

    def add(self, what: str, measured: str, beside: str, target: str) -> None:
        self._rows.append((what, measured, beside, target))
        print(f"  {what}: {measured} ({beside}); target {target}", flush=True)

    def show(self) -> None:
        rows = [("what", "measured", "beside it", "target"), *self._rows]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
