"""What a history may show of a record of which nobody knows any more what was dropped: more, but nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from peerd.core.clocks import Dot
from peerd.core.record import Record
from tests.network_simulation.checks import _check_unsure
from tests.network_simulation.fork_checks import Wrong
from tests.simulation.oracle import Expected

NAME = ("notes", "one")
BORN, EDIT = Dot(b"a" * 16, 1), Dot(b"b" * 16, 1)
STORY: Any = SimpleNamespace(
    entries={
        BORN: SimpleNamespace(changes=[SimpleNamespace(record=NAME, set={"a": b"\x01", "b": b"\x02"})]),
        EDIT: SimpleNamespace(changes=[SimpleNamespace(record=NAME, set={"b": b"\x03"})]),
    }
)
EXPECTED = Expected(births={BORN: (False, None)}, fields={"b": {EDIT: b"\x03"}})


def record(births: set[Dot], **fields: dict[Dot, bytes]) -> Record:
    made = Record()
    made.births, made.fields = births, fields
    return made


def test_what_was_dropped_may_be_there_again() -> None:
    _check_unsure(STORY, NAME, record({BORN}, a={BORN: b"\x01"}, b={EDIT: b"\x03"}), EXPECTED)


@pytest.mark.parametrize(
    ("shown", "wrong"),
    [
        (record(set(), b={EDIT: b"\x03"}), "lost"),
        (record({BORN}, b={BORN: b"\x02"}), "lost"),
        (record({BORN}, a={BORN: b"\x07"}, b={EDIT: b"\x03"}), "nobody has written a so"),
        (record({BORN}, a={EDIT: b"\x01"}, b={EDIT: b"\x03"}), "nobody has written a so"),
    ],
)
def test_nothing_may_be_lost_and_nothing_made_up(shown: Record, wrong: str) -> None:
    with pytest.raises(Wrong, match=wrong):
        _check_unsure(STORY, NAME, shown, EXPECTED)
