"""Times as people give them: an ISO time, a span that reaches back from now, or a day by its name."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from typing import Final

from peerd.cli.arguments import Misused

HOW: Final = "2026-05-01, 2026-05-01T10:00, 2h or 3d (ago), 10:00, today, yesterday 10:00"
_UNITS: Final = {
    unit: seconds
    for seconds, units in {
        1: "s sec second seconds",
        60: "m min mins minute minutes",
        3600: "h hour hours",
        86_400: "d day days",
        7 * 86_400: "w week weeks",
    }.items()
    for unit in units.split()
}
_PART: Final = re.compile(r"(\d{1,9})\s*([a-z]+)\s*")
_SPAN: Final = re.compile(f"(?:{_PART.pattern})+")
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def wall_ms(text: str, now_s: float | None = None) -> int:
    """The time in ms since the epoch, by the clock and zone of this machine where it names none.

    Raises:
        Misused: it is no time that is understood, or lies before 1970.
    """
    now = datetime.fromtimestamp(time.time() if now_s is None else now_s).astimezone()
    try:
        found = _moment(text.strip().lower(), now).timestamp()
    except (ValueError, KeyError, OverflowError):
        found = -1.0
    if found < 0:
        raise Misused(f"{text!r} is no time", next_step=f"write it like one of these: {HOW}")
    return round(found * 1000)


def _moment(text: str, now: datetime) -> datetime:
    span = text.removesuffix(" ago")
    if _SPAN.fullmatch(span):
        return now - timedelta(seconds=sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(span)))
    if text == "now":
        return now
    day, _, clock = text.partition(" ")
    if day in {"today", "yesterday"}:
        return _on(now.replace(tzinfo=None) - timedelta(days=day == "yesterday"), clock or "0:00")
    if _CLOCK.fullmatch(text):
        return _on(now.replace(tzinfo=None), text)
    return datetime.fromisoformat(text.upper())


def _on(day: datetime, clock: str) -> datetime:
    found = _CLOCK.fullmatch(clock)
    if found is None:
        raise ValueError
    # Without a zone: what the clock on the wall shows that day, whatever summer time does in between.
    return day.replace(hour=int(found[1]), minute=int(found[2]), second=int(found[3] or 0), microsecond=0)
