"""Strings of others, made harmless to read."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.cli.text import counted, moment, shortened, size, span, visible, visible_json, width


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\x9b31m", "a\\x9b31m"),
        ("bell\x07\x7f", "bell\\x07\\x7f"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("nas\u202egpj.exe", "nas\\u202egpj.exe"),
        ("\u2066x\u2069\u200f\u061c", "\\u2066x\\u2069\\u200f\\u061c"),
        ("ki\u200bt\ufeffchen", "ki\\u200bt\\ufeffchen"),
        ("line\u2028end\u2029", "line\\u2028end\\u2029"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("\0", "\\x00"),
    ],
)
def test_what_has_no_shape_is_shown_as_an_escape(hostile: str, shown: str) -> None:
    """Escape sequences, direction marks, invisible characters and line breaks do not reach a terminal."""
    assert visible(hostile) == shown


@pytest.mark.parametrize("text", ["", "plain", "Küche", "台所", "мир", "🍞", "a b", "é"])
def test_what_people_write_is_left_alone(text: str) -> None:
    assert visible(text) == text
    assert visible_json(text) == text


@given(st.text())
def test_visible_text_never_commands_a_terminal(text: str) -> None:
    assert visible(text).isprintable()


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_visible_json_is_harmless_and_still_the_same_json(value: object) -> None:
    shown = visible_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert shown.replace("\n", "").isprintable()
    assert json.loads(shown) == value


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("台所", 4), ("é", 1), ("🍞", 2), ("", 0)])
def test_width_counts_columns_not_characters(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [("kitchen", 7, "kitchen"), ("kitchen", 5, "kitc…"), ("台所台所", 5, "台所…"), ("台所台所", 6, "台所…")],
)
def test_a_long_text_is_cut_and_shows_it(text: str, columns: int, shown: str) -> None:
    assert shortened(text, columns) == shown
    assert width(shown) <= columns


@pytest.mark.parametrize(
    ("wall_ms", "shown"),
    [(0, "1970-01-01 00:00:00"), (1_700_000_000_999, "2023-11-14 22:13:20"), (None, ""), ("x", ""), (True, "")],
)
def test_a_moment_is_local_date_and_time(monkeypatch: pytest.MonkeyPatch, wall_ms: object, shown: str) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert moment(wall_ms) == shown


def test_a_moment_beyond_the_calendar_is_shown_as_the_number_it_is() -> None:
    assert moment(10**30) == f"{10**30} ms"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (18_130, "5 h 2 min"),
        (1_047_600, "12 d 3 h"),
        (320_000_000, "10.1 years"),
        (-5, "0 s"),
    ],
)
def test_a_span_names_its_two_largest_units(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1500, "1.5 KiB"),
        (20 << 20, "20 MiB"),
        (3 << 30, "3.0 GiB"),
        (5000 << 40, "5,000.0 TiB"),
    ],
)
def test_a_size_is_in_the_largest_unit_that_fits(size_bytes: int, shown: str) -> None:
    assert size(size_bytes) == shown


def test_counts_agree_with_their_noun() -> None:
    assert [counted(1, "record"), counted(2, "record"), counted(12_345, "record")] == [
        "1 record",
        "2 records",
        "12,345 records",
    ]
