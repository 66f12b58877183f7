"""How CloudKit says no: as a whole, or for one record inside an answer that says yes."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """`status` counts when the whole request is refused."""

    def __init__(self, code: str, reason: str, status: int = 400, **extra: Any) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.status = status
        self.extra = extra

    def body(self, uuid: str) -> dict[str, Any]:
        return {"uuid": uuid, "serverErrorCode": self.code, "reason": self.reason, **self.extra}


def bad(reason: str) -> Refused:
    return Refused("BAD_REQUEST", reason)


def unauthenticated() -> Refused:
    """The same sentence for every mistake in a signature."""
    return Refused("AUTHENTICATION_FAILED", "Authentication failed", 401)


def throttled(retry_after: float | None, status: int = 429) -> Refused:
    extra: dict[str, Any] = {
        "error_code": "THROTTLED",
        "messageForDeveloper": "Database throttled, retry later. See TN3162",
    }
    if retry_after is not None:
        extra["retryAfter"] = retry_after
    return Refused("THROTTLED", "Database throttled, retry later", status, **extra)
