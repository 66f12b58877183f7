"""Portions of what waits to be written into a file."""

from __future__ import annotations

from peerd.core.tables.changes import Applied, RowImage
from peerd.core.tables.portions import LONGEST_MS, MOST_ROWS, Portions, Step


def step(position: int, *keys: str) -> Step:
    images = tuple(RowImage("note", key, {"at": bytes([position])}) for key in keys)
    return Step(images, Applied(b"copy", position))


def cut(most_rows: int, *steps: Step) -> list[tuple[list[str], int]]:
    portions = Portions()
    portions.most_rows = most_rows
    return [([image.key for image in one.images], one.applied.position) for one in portions.of(steps)]


def test_whole_transactions_are_joined_as_far_as_they_fit() -> None:
    assert cut(3, step(1, "a", "b"), step(2, "c"), step(3, "d", "e"), step(4, "f", "g")) == [
        (["a", "b", "c"], 2),
        (["d", "e"], 3),
        (["f", "g"], 4),
    ]


def test_a_transaction_is_never_cut() -> None:
    assert cut(1, step(1, "a"), step(2, *"bcdef"), step(3, "g")) == [(["a"], 1), (list("bcdef"), 2), (["g"], 3)]


def test_a_record_counts_once_with_its_last_image() -> None:
    (portion,) = Portions().of([step(1, "a"), step(2, "a", "b"), step(3, "a")])
    assert {image.key: image.fields for image in portion.images} == {"a": {"at": b"\x03"}, "b": {"at": b"\x02"}}
    assert cut(2, step(1, "a", "b"), step(2, "a"), step(3, "b")) == [(["a", "b"], 3)]


def test_transactions_without_rows_move_the_position() -> None:
    assert cut(5, step(1), step(2)) == [([], 2)]
    assert cut(5) == []


def test_portions_shrink_with_a_slow_machine_and_grow_again() -> None:
    portions = Portions()
    portions.took(1_000, 4 * LONGEST_MS)
    assert portions.most_rows == MOST_ROWS // 4
    portions.took(250, LONGEST_MS * 0.8)
    assert portions.most_rows == 250
    portions.took(10, 1)  # says little
    assert portions.most_rows == 250
    for _ in range(20):
        portions.took(portions.most_rows, 1)
    assert portions.most_rows == MOST_ROWS
    portions.took(1, 10_000 * LONGEST_MS)
    assert portions.most_rows == 20
