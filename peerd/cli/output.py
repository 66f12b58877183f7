"""Where output goes: data to stdout, talk to stderr, and neither looks different for any other reason.

On a terminal there are tables with a heading and a little colour; anywhere else one line per row with tabs
between, no heading, no escape sequence; with `--json` a document, or one document per line.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

from peerd.cli.text import one_line, shortened, visible, visible_json, width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CELL_COLUMNS: Final = 64
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Output:
    """The two streams of one command. Whatever it prints is made visible first; only its own colour is not."""

    def __init__(
        self,
        *,
        as_json: bool,
        colour: bool = True,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.as_json = as_json
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        wanted = colour and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self.on_terminal = self._stdout.isatty()
        self.talks_to_terminal = self._stderr.isatty()
        self._coloured = wanted and self.on_terminal
        self._talk_coloured = wanted and self.talks_to_terminal

    def document(self, document: Any) -> None:
        """Print one JSON document, indented where a person reads it."""
        text = json.dumps(document, ensure_ascii=False, indent=2 if self.on_terminal else None)
        self._write(visible_json(text))

    def line_of_stream(self, document: Any) -> None:
        """Print one JSON document on one line and hand it over at once."""
        self._write(one_line(document))
        self._stdout.flush()

    def text(self, text: str, style: str = "") -> None:
        """Print one line of data."""
        self._write(_styled(visible(text), style if self._coloured else ""))

    def raw(self, text: str) -> None:
        """Print what has been made visible and styled already."""
        self._write(text)

    def styled(self, text: str, style: str) -> str:
        """The visible text, coloured if stdout takes colour."""
        return _styled(visible(text), style if self._coloured else "")

    def table(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[object]],
        styles: Mapping[str, str] | None = None,
    ) -> None:
        """Print rows. `styles` colours cells by their text, on a terminal."""
        cells = [[visible(_cell(value)) for value in row] for row in rows]
        if not self.on_terminal:
            for row in cells:
                self._write("\t".join(row))
            return
        if not rows:
            return
        cells = [[shortened(cell, CELL_COLUMNS) for cell in row] for row in cells]
        widths = [max(width(cell) for cell in column) for column in zip(headings, *cells, strict=True)]
        right = [all(_is_number(row[index]) for row in rows) for index in range(len(headings))]
        self._write(self._row([*headings], widths, right, dict.fromkeys(headings, "bold")))
        for row in cells:
            self._write(self._row(row, widths, right, styles or {}))

    def talk(self, text: str, style: str = "") -> None:
        """Say something to the person: stderr, one line."""
        self._stderr.write(_styled(visible(text), style if self._talk_coloured else "") + "\n")
        self._stderr.flush()

    def ask(self, question: str) -> bool:
        """Ask yes or no on the terminal; no answer is no."""
        self._stderr.write(visible(question) + " [y/N] ")
        self._stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def ask_text(self, question: str) -> str:
        """Ask for a line on the terminal."""
        self._stderr.write(visible(question) + " ")
        self._stderr.flush()
        return sys.stdin.readline().strip()

    def flush(self) -> None:
        """Hand over what has been printed, for who reads along."""
        self._stdout.flush()

    @property
    def gap(self) -> str:
        """What stands between the parts of a line."""
        return "  " if self.on_terminal else "\t"

    def _row(self, cells: list[str], widths: list[int], right: list[bool], styles: Mapping[str, str]) -> str:
        padded = []
        for cell, columns, numeric in zip(cells, widths, right, strict=True):
            blank = " " * (columns - width(cell))
            shown = _styled(cell, styles.get(cell, "") if self._coloured else "")
            padded.append(blank + shown if numeric else shown + blank)
        return "  ".join(padded).rstrip()

    def _write(self, text: str) -> None:
        self._stdout.write(text + "\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _styled(text: str, style: str) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and text else text
