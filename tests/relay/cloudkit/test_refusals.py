from __future__ import annotations

import pytest

from peerd.cli.codes import TEXTS
from peerd.relay.cloudkit import refusals
from peerd.relay.cloudkit.answers import Refused

# code, status: code of peerd's, lasting, waits by itself, halves
TABLE = [
    ("ACCESS_DENIED", 403, "relay-denied", True, False, False),
    ("ATOMIC_ERROR", 400, "relay-failed", True, False, False),
    ("AUTHENTICATION_FAILED", 401, "relay-denied", True, False, False),
    ("AUTHENTICATION_REQUIRED", 421, "relay-denied", True, False, False),
    ("BAD_REQUEST", 400, "relay-misconfigured", True, False, True),
    ("CONFLICT", 409, "relay-failed", False, False, False),
    ("EXISTS", 409, "relay-failed", False, False, False),
    ("INTERNAL_ERROR", 500, "relay-failed", False, True, False),
    ("NOT_FOUND", 404, "relay-misconfigured", True, False, False),
    ("QUOTA_EXCEEDED", 413, "relay-full", True, False, True),
    ("THROTTLED", 429, "relay-throttled", False, True, False),
    ("THROTTLED", 503, "relay-throttled", False, True, False),
    ("TRY_AGAIN_LATER", 503, "relay-throttled", False, True, False),
    ("VALIDATING_REFERENCE_ERROR", 412, "relay-failed", True, False, False),
    ("ZONE_NOT_FOUND", 404, "relay-misconfigured", True, False, False),
    ("UNIQUE_FIELD_ERROR", 400, "relay-misconfigured", True, False, False),
    ("UNKNOWN_ERROR", 500, "relay-failed", False, True, False),
    ("SERVICE_UNAVAILABLE", 503, "relay-failed", False, True, False),
    ("SIGN_IN_FAILED", 400, "relay-failed", True, False, False),
    ("CHANGE_TOKEN_EXPIRED", 200, "relay-failed", True, False, False),
    ("", 302, "relay-misconfigured", True, False, False),
    ("", 400, "relay-failed", True, False, False),
    ("", 401, "relay-denied", True, False, False),
    ("", 403, "relay-denied", True, False, False),
    ("", 404, "relay-misconfigured", True, False, False),
    ("", 413, "relay-full", True, False, True),
    ("", 421, "relay-failed", False, True, False),
    ("", 429, "relay-throttled", False, True, False),
    ("", 500, "relay-failed", False, True, False),
    ("", 503, "relay-throttled", False, True, False),
    ("", 599, "relay-failed", False, True, False),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1]}")
def test_every_code_has_its_reaction(row: tuple[str, int, str, bool, bool, bool]) -> None:
    code, status, ours, lasting, ill, halves = row
    refused = Refused(code, status, "because")
    told = refusals.trouble(refused, None)
    assert (told.code, told.lasting) == (ours, lasting)
    assert refusals.reaction(refused).ill is ill
    assert refusals.may_be_too_large(refused) is halves
    assert told.next_step
    assert told.code in TEXTS
    assert "because" in str(told)


def test_the_table_is_complete() -> None:
    assert {code for code, *_ in TABLE} >= set(refusals.REACTIONS)


def test_an_unknown_code_that_says_when_to_come_back_is_believed() -> None:
    refused = Refused("SOMETHING_NEW", 418, wait_s=60)
    assert not refusals.reaction(refused).lasting
    assert refusals.trouble(refused, 60.0).retry_s == 60
