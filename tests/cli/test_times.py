"""Times as people give them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from peerd.cli.arguments import Misused
from peerd.cli.times import wall_ms

NOW_S = 1_775_000_000.5  # 2026-03-31 23:33:20.5 UTC, which is 01:33:20.5 on 1 April in Berlin


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zone with summer time: it began on 29 March 2026."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def shown(text: str) -> str:
    moment_ms = wall_ms(text, NOW_S)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment_ms / 1000)) + f".{moment_ms % 1000:03}"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("now", "2026-03-31 23:33:20.500"),
        ("30s", "2026-03-31 23:32:50.500"),
        ("5m", "2026-03-31 23:28:20.500"),
        ("5 min", "2026-03-31 23:28:20.500"),
        ("2h", "2026-03-31 21:33:20.500"),
        ("3d ago", "2026-03-28 23:33:20.500"),
        ("1W", "2026-03-24 23:33:20.500"),
        ("2 hours ago", "2026-03-31 21:33:20.500"),
        ("1 week", "2026-03-24 23:33:20.500"),
        ("1d2h", "2026-03-30 21:33:20.500"),
        ("3 min 20 s", "2026-03-31 23:30:00.500"),  # as `status` writes it
        ("today", "2026-03-31 22:00:00.000"),
        ("yesterday", "2026-03-30 22:00:00.000"),
        ("Yesterday 9:05", "2026-03-31 07:05:00.000"),
        ("yesterday 9:05:07", "2026-03-31 07:05:07.000"),
        ("1:00", "2026-03-31 23:00:00.000"),
        ("2026-03-28", "2026-03-27 23:00:00.000"),  # winter time, though now it is summer
        ("2026-03-28 10:00", "2026-03-28 09:00:00.000"),
        ("2026-03-28T10:00:01.250Z", "2026-03-28 10:00:01.250"),
        ("2026-03-28T10:00+05:30", "2026-03-28 04:30:00.000"),
    ],
)
def test_a_time_is_understood(text: str, utc: str) -> None:
    assert shown(text) == utc


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2x",
        "2 months",
        "1h x",
        "h",
        "-2h",
        "25:00",
        "yesterday noon",
        "2026-13-01",
        "1960-01-01",
        "9" * 9 + "w",
    ],
)
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(Misused, match="is no time") as refused:
        wall_ms(text, NOW_S)
    assert "yesterday 10:00" in refused.value.next_step
