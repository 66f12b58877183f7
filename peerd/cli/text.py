"""What strings of others look like when a person reads them, and how wide they are.

Names, keys and values come from other devices. A terminal obeys control characters, and direction marks make
one name look like another, so whatever has no shape of its own is shown as an escape.
"""

from __future__ import annotations

import json
import time
import unicodedata
from typing import Final

_encode: Final = json.JSONEncoder(ensure_ascii=False).encode
_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    """The text on one line, every character that is no letter, mark, sign or plain space as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def visible_json(document: str) -> str:
    """The same for JSON text whose line breaks are wanted: escapes that a JSON reader understands."""
    if document.isprintable():
        return document
    return "".join(char if char == "\n" or char.isprintable() else _json_escape(char) for char in document)


def one_line(value: object) -> str:
    """A value as harmless JSON on one line."""
    return visible_json(_encode(value))


def _escape(char: str) -> str:
    if short := _SHORT_ESCAPES.get(char):
        return short
    point = ord(char)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _json_escape(char: str) -> str:
    point = ord(char)
    if point < 0x10000:
        return f"\\u{point:04x}"
    point -= 0x10000
    return f"\\u{0xD800 + (point >> 10):04x}\\u{0xDC00 + (point & 0x3FF):04x}"


def width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def shortened(text: str, columns: int) -> str:
    """The text cut to at most `columns`, the cut shown by an ellipsis."""
    if width(text) <= columns:
        return text
    kept, used = [], 1
    for char in text:
        used += _columns(char)
        if used > columns:
            break
        kept.append(char)
    return "".join(kept) + "…"


def moment(wall_ms: object) -> str:
    """A time of the wall clock, given in ms, as local date and time; nothing for nothing."""
    if isinstance(wall_ms, bool) or not isinstance(wall_ms, int | float):
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_ms / 1000))
    except (ValueError, OverflowError, OSError):
        return f"{wall_ms} ms"


_YEAR_S = 365.25 * 86400


def span(seconds: float) -> str:
    """A duration in its two largest units: 7 s, 3 min 20 s, 5 h 2 min, 12 d 3 h; from two years on 10.0 years."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _pair(whole, 60, "min", "s")
    if whole < 86400:
        return _pair(whole // 60, 60, "h", "min")
    if whole < 2 * _YEAR_S:
        return _pair(whole // 3600, 24, "d", "h")
    return f"{whole / _YEAR_S:,.1f} years"


def _pair(count: int, per: int, large: str, small: str) -> str:
    many, rest = divmod(count, per)
    return f"{many} {large} {rest} {small}" if rest else f"{many} {large}"


def size(size_bytes: float) -> str:
    """A number of bytes in the largest unit that fits: 17 B, 1.4 KiB, 20 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if size_bytes >= 10 or unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.1f} TiB"


def counted(count: int, noun: str, plural: str = "") -> str:
    """1 record, 2 records, 12,345 records."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
