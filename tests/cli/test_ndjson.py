"""Files of records: line numbers, keys and batches."""

from __future__ import annotations

import io

import pytest

from peerd.cli.ndjson import BATCH_BYTES, BadLine, Line, batches, read


def lines(data: bytes, key: str = "id") -> list[Line]:
    return list(read(io.BytesIO(data), key))


def test_every_line_is_a_record_with_its_number() -> None:
    """Empty lines count, a byte order mark and the last line break do not matter."""
    found = lines(b'\xef\xbb\xbf{"id": "a", "n": 1}\r\n\n  \n{"id": "b"}')
    assert [(line.number, line.key, line.value) for line in found] == [
        (1, "a", {"id": "a", "n": 1}),
        (4, "b", {"id": "b"}),
    ]


def test_an_escaped_pair_of_surrogates_is_one_character() -> None:
    assert lines(b'{"id": "\\ud83d\\ude00"}')[0].key == "\U0001f600"


def test_a_whole_number_is_a_key_in_decimal() -> None:
    assert lines(b'{"id": -7}')[0].key == "-7"


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (b"{", "not JSON"),
        (b"[1]", "object"),
        (b'{"other": 1}', "no field 'id'"),
        (b'{"id": 1.5}', "cannot be the key"),
        (b'{"id": true}', "cannot be the key"),
        (b'{"id": ""}', "cannot be the key"),
        (b'{"id": "\xff"}', "not UTF-8 at byte 9"),
        (b'{"id": NaN}', "NaN"),
        (b'{"id": "a", "t": ["\\ud83d"]}', "surrogate"),
    ],
)
def test_a_bad_line_is_named_by_its_number(bad: bytes, complaint: str) -> None:
    with pytest.raises(BadLine, match=f"^line 3: .*{complaint}") as caught:
        lines(b'{"id": "a"}\n\n' + bad + b"\n")
    assert (caught.value.number, caught.value.exit_code) == (3, 2)


def test_a_line_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.cli.ndjson.LINE_LIMIT_BYTES", 20)
    with pytest.raises(BadLine, match="line 1: longer"):
        lines(b'{"id": "' + b"a" * 100)


def make(count: int, size_bytes: int = 10) -> list[Line]:
    return [Line(number, size_bytes, str(number), {}) for number in range(1, count + 1)]


def test_a_batch_has_at_most_a_thousand_records() -> None:
    assert [len(batch) for batch in batches(make(2001))] == [1000, 1000, 1]
    assert [len(batch) for batch in batches(make(1000))] == [1000]
    assert list(batches([])) == []


def test_a_batch_is_bounded_in_bytes_but_a_long_record_still_goes() -> None:
    assert [len(batch) for batch in batches(make(4, BATCH_BYTES // 2))] == [2, 2]
    assert [len(batch) for batch in batches(make(3, BATCH_BYTES * 2))] == [1, 1, 1]


def test_a_key_that_comes_again_begins_a_batch() -> None:
    """Whether it is the next line or one far away, it is written after the one before: the last line counts."""
    data = b"".join(b'{"id": "%s"}\n' % key for key in (b"a", b"b", b"b", b"a", b"c", b"c"))
    assert [[line.key for line in batch] for batch in batches(read(io.BytesIO(data), "id"))] == [
        ["a", "b"], ["b", "a", "c"], ["c"],
    ]  # fmt: skip


def test_nothing_of_the_batch_with_the_bad_line_comes_out() -> None:
    data = b"".join(b'{"id": %d}\n' % number for number in range(1500)) + b"oops\n"
    given: list[int] = []
    with pytest.raises(BadLine, match="line 1501"):
        given.extend(len(batch) for batch in batches(read(io.BytesIO(data), "id")))
    assert given == [1000]
