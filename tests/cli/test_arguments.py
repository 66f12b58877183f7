"""JSON as an argument, and what must not come through it."""

from __future__ import annotations

import io
import sys

import pytest

from peerd.cli.arguments import Misused, from_argument_or_stdin, json_object, json_value


def test_values_keep_their_kinds() -> None:
    """Whole numbers stay whole, the others stay what they are, text is text."""
    value = json_value('{"i": 9223372036854775807, "f": 1.0, "n": null, "t": true, "l": [1, {"a": "ü"}]}')
    assert value == {"i": 2**63 - 1, "f": 1.0, "n": None, "t": True, "l": [1, {"a": "ü"}]}
    assert isinstance(value["f"], float)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nope",
        '{"a": NaN}',
        "[Infinity]",
        "-Infinity",
        "1e999",
        "[" * 100_000,
        "1" * 5000,
        "{'a': 1}",
        '{"a": 1, "a": 2}',
    ],
)
def test_what_is_no_json_is_refused_as_misuse(text: str) -> None:
    with pytest.raises(Misused, match="JSON") as caught:
        json_value(text)
    assert (caught.value.exit_code, caught.value.code) == (2, "bad-json")


@pytest.mark.parametrize(
    ("text", "place"),
    [('{"a": }', " at column 7"), ('{\n"a": }', " at line 2, column 6"), ('{"a": NaN}', "NaN is no number")],
)
def test_the_place_of_the_mistake_is_named(text: str, place: str) -> None:
    with pytest.raises(Misused, match=place):
        json_value(text)


@pytest.mark.parametrize("text", ["[]", "3", '"a"', "null"])
def test_a_record_is_an_object(text: str) -> None:
    with pytest.raises(Misused, match="object"):
        json_object(text)


@pytest.mark.parametrize("argument", [None, "-"])
def test_stdin_stands_in_for_a_missing_argument(monkeypatch: pytest.MonkeyPatch, argument: str | None) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf{}")))
    assert from_argument_or_stdin(argument) == "{}"
    assert from_argument_or_stdin("[]") == "[]"


def test_stdin_that_is_not_utf8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": "\xff"}')))
    with pytest.raises(Misused, match="UTF-8"):
        from_argument_or_stdin("-")
