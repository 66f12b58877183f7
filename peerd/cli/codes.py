"""Every error code that a person can meet, and what it means. `docs/errors.md` is written from this table."""

from __future__ import annotations

from typing import Final

TEXTS: Final[dict[str, str]] = {}
