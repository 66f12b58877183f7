"""Every code with which CloudKit Web Services refuse something, and what follows from it.

A code that is not in the table is judged by its status: from 500 on the service is ill, below it the request is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from peerd.errors import RelayTrouble
from peerd.relay.cloudkit.answers import Refused

_ROLES = 'Check record type, fields and security roles in the CloudKit Console: docs/cloudkit.md, "The schema".'
_KEY = (
    "Check relay.cloudkit.key_id and key_file, and that the key is registered for this environment of this container."
)
_REPORT = "This is a fault of peerd, or something new at Apple; please report it with this sentence."
_WAIT = "Nothing to do: it is asked again by itself."
_PLACE = "Check relay.cloudkit.container, environment and base_url. `peerctl relay check` tries them."


@dataclass(frozen=True)
class Reaction:
    """`lasting`: a person must act. `ill`: wait by ourselves if it does not say how long. `halves`: perhaps the request
    was too large, so one with more than one operation is cut in two.
    """

    code: str
    sentence: str
    next_step: str
    lasting: bool = False
    ill: bool = False
    halves: bool = False


_ILL: Final = Reaction("relay-failed", "CloudKit failed", _WAIT, ill=True)
_WRONG: Final = Reaction("relay-failed", "CloudKit refuses a request of ours", _REPORT, lasting=True)

REACTIONS: Final[dict[str, Reaction]] = {
    "ACCESS_DENIED": Reaction("relay-denied", "CloudKit does not let this key do that", _ROLES, lasting=True),
    "ATOMIC_ERROR": _WRONG,
    "AUTHENTICATION_FAILED": Reaction("relay-denied", "CloudKit does not accept the signature", _KEY, lasting=True),
    "AUTHENTICATION_REQUIRED": Reaction("relay-denied", "CloudKit wants a person to sign in", _KEY, lasting=True),
    "BAD_REQUEST": Reaction(
        "relay-misconfigured", "CloudKit does not understand the request", _ROLES, lasting=True, halves=True
    ),
    "CONFLICT": Reaction("relay-failed", "An object was written by somebody else meanwhile", _WAIT),
    "EXISTS": Reaction("relay-failed", "An object is there already", _WAIT),
    "INTERNAL_ERROR": _ILL,
    "NOT_FOUND": Reaction("relay-misconfigured", "There is no such container", _PLACE, lasting=True),
    "QUOTA_EXCEEDED": Reaction(
        "relay-full",
        "The container is full",
        "Lower relay.cloudkit.max_bytes, or remove records that peerd did not make.",
        lasting=True,
        halves=True,
    ),
    "THROTTLED": Reaction("relay-throttled", "CloudKit wants to be left alone for a while", _WAIT, ill=True),
    "TRY_AGAIN_LATER": Reaction("relay-throttled", "CloudKit is busy", _WAIT, ill=True),
    "VALIDATING_REFERENCE_ERROR": _WRONG,
    "ZONE_NOT_FOUND": Reaction("relay-misconfigured", "The container lacks its default zone", _PLACE, lasting=True),
    "UNIQUE_FIELD_ERROR": Reaction("relay-misconfigured", "A field of the schema must be unique", _ROLES, lasting=True),
}

_BY_STATUS: Final[dict[int, Reaction]] = {
    401: REACTIONS["AUTHENTICATION_FAILED"],
    403: REACTIONS["ACCESS_DENIED"],
    404: REACTIONS["NOT_FOUND"],
    408: _ILL,
    413: REACTIONS["QUOTA_EXCEEDED"],
    421: _ILL,  # misdirected: another connection is tried
    425: _ILL,
    429: REACTIONS["THROTTLED"],
    503: REACTIONS["TRY_AGAIN_LATER"],
}


def reaction(refused: Refused) -> Reaction:
    """What follows. Never fails, whatever the code is."""
    known = REACTIONS.get(refused.code)
    if known is not None:
        return known
    if not refused.code and refused.status in _BY_STATUS:
        return _BY_STATUS[refused.status]
    if 300 <= refused.status < 400:
        return Reaction("relay-misconfigured", "What answers is not CloudKit", _PLACE, lasting=True)
    return _ILL if refused.status >= 500 or refused.wait_s is not None else _WRONG


def may_be_too_large(refused: Refused) -> bool:
    """Of a whole request: would half of it perhaps be taken?"""
    return refused.status == 413 or reaction(refused).halves


def trouble(refused: Refused, retry_s: float | None) -> RelayTrouble:
    """The error of peerd's; `retry_s` as in RelayTrouble."""
    found = reaction(refused)
    said = ", ".join(
        part
        for part in (
            refused.code or f"HTTP status {refused.status}",
            refused.reason,
            f"id {refused.failure}" if refused.failure else "",
        )
        if part
    )
    return RelayTrouble(
        f"{found.sentence} ({said}).",
        code=found.code,
        next_step=found.next_step,
        retry_s=retry_s,
        lasting=found.lasting,
    )
