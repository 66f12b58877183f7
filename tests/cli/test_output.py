"""Tables, colour and JSON, on a terminal and elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from peerd.cli.output import Output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def make(*, terminal: bool, environ: dict[str, str] | None = None, **options: bool) -> tuple[Output, io.StringIO]:
    stream = Terminal() if terminal else io.StringIO()
    chosen = {"as_json": False, **options}
    return Output(**chosen, stdout=stream, stderr=stream, environ=environ or {}), stream


ROWS = [["nas", "in sync", 12], ["台所", "offline", 3]]
HEADINGS = ("PEER", "STATE", "COUNT")


def test_off_a_terminal_a_table_is_tabs_without_heading_or_colour() -> None:
    out, stream = make(terminal=False)
    out.table(HEADINGS, [*ROWS, ["a\tb\n", None, True]], {"in sync": "green"})
    assert stream.getvalue() == "nas\tin sync\t12\n台所\toffline\t3\na\\tb\\n\t\tyes\n"


def test_on_a_terminal_columns_align_by_width_and_numbers_stand_right() -> None:
    out, stream = make(terminal=True, colour=False)
    out.table(HEADINGS, ROWS)
    assert stream.getvalue() == "PEER  STATE    COUNT\nnas   in sync     12\n台所  offline      3\n"


def test_colour_stays_outside_the_padding() -> None:
    out, stream = make(terminal=True)
    out.table(("A", "B"), [["ok", "x"], ["long", "y"]], {"ok": "green"})
    assert stream.getvalue() == "\x1b[1mA\x1b[0m     \x1b[1mB\x1b[0m\n\x1b[32mok\x1b[0m    x\nlong  y\n"


@pytest.mark.parametrize(
    ("terminal", "environ", "colour"),
    [(False, {}, True), (True, {"NO_COLOR": "1"}, True), (True, {"TERM": "dumb"}, True), (True, {}, False)],
)
def test_no_colour_where_none_is_wanted(terminal: bool, environ: dict[str, str], colour: bool) -> None:  # noqa: FBT001 - parameters
    """Off a terminal, with NO_COLOR, on a dumb terminal and with --no-color."""
    out, stream = make(terminal=terminal, environ=environ, colour=colour)
    out.text("x", "red")
    out.talk("y", "red")
    assert stream.getvalue() == "x\ny\n"


def test_an_empty_no_color_is_none() -> None:
    out, stream = make(terminal=True, environ={"NO_COLOR": ""})
    out.text("x", "red")
    assert stream.getvalue() == "\x1b[31mx\x1b[0m\n"


def test_a_name_cannot_colour_itself_nor_leave_its_line() -> None:
    """Text, talk and cells alike."""
    hostile = "\x1b[31m\nrm -rf\u202e"
    out, stream = make(terminal=True, colour=False)
    out.text(hostile)
    out.talk(hostile)
    out.table(("A",), [[hostile]])
    shown = "\\x1b[31m\\nrm -rf\\u202e"
    assert stream.getvalue().splitlines() == [shown, shown, "A", shown]


def test_a_long_cell_is_cut_on_a_terminal_only() -> None:
    for terminal, length in ((True, 64), (False, 200)):
        out, stream = make(terminal=terminal, colour=False)
        out.table(("A",), [["x" * 200]])
        assert len(stream.getvalue().splitlines()[-1]) == length


def test_an_empty_table_has_no_heading() -> None:
    out, stream = make(terminal=True)
    out.table(HEADINGS, [])
    assert not stream.getvalue()


def test_json_is_one_line_for_programs_and_indented_for_people() -> None:
    document = {"a": [1], "ü": "\u202e"}
    out, stream = make(terminal=False)
    out.document(document)
    assert stream.getvalue() == '{"a": [1], "ü": "\\u202e"}\n'
    out, stream = make(terminal=True)
    out.document({"a": 1})
    assert stream.getvalue() == '{\n  "a": 1\n}\n'
    out.line_of_stream({"a": 1})
    assert stream.getvalue().endswith('\n{"a": 1}\n')


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_only_a_clear_yes_is_yes(monkeypatch: pytest.MonkeyPatch, typed: str, agreed: bool) -> None:  # noqa: FBT001 - parameter
    out, stream = make(terminal=True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert out.ask("Sure?\x07") is agreed
    assert stream.getvalue() == "Sure?\\x07 [y/N] "
