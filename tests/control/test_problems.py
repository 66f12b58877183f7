"""What a refusal looks like."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from peerd.control import problems
from peerd.errors import ConfigError, DiskFull, PeerdError, StoreBusy, StoreDamaged, StoreError, TooManyFiles, UserError

PACKAGE = Path(problems.__file__).parent


def test_a_user_error_becomes_its_document() -> None:
    """RFC 9457, with a code and what to do, and whatever the error carries beside."""
    error = UserError("no", code="merge-fixed", status=409, next_step="do", collection="todo", status_extra=1)
    assert json.loads(problems.encode(error)) == {
        "type": "urn:peerd:error:merge-fixed",
        "title": "How a collection merges is fixed when it is created",
        "status": 409,
        "detail": "no",
        "code": "merge-fixed",
        "next_step": "do",
        "collection": "todo",
        "status_extra": 1,
    }


def test_an_unknown_code_is_passed_on() -> None:
    """The engine may know more codes; the title is then the status's own."""
    document = problems.document(UserError("no", code="new-one", status=409))
    assert (document["code"], document["title"]) == ("new-one", "Conflict")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DiskFull("full"), 507, "disk-full"),
        (StoreBusy("busy"), 503, "store-busy"),
        (StoreDamaged("bad"), 500, "store-damaged"),
        (StoreError("bad", code="store-failed"), 503, "store-failed"),
        (TooManyFiles("none left"), 503, "too-many-files"),
        (ConfigError(["a"]), 422, "bad-config"),
        (PeerdError("x"), 500, "internal"),
        (ValueError("secret"), 500, "internal"),
        (UserError("x", status=200), 500, "bad-request"),
    ],
)
def test_every_error_has_its_status(error: Exception, status: int, code: str) -> None:
    """Ours are 5xx, the caller's 4xx; nobody's error is a success."""
    document = problems.document(error)
    assert (document["status"], document["code"]) == (status, code)


def test_a_bug_tells_the_caller_nothing() -> None:
    """An exception's text may hold anything."""
    assert "secret" not in problems.encode(ValueError("secret")).decode()


@pytest.mark.parametrize("error", [UserError("\ud800"), UserError("x", thing=object()), UserError("y" * 10_000)])
def test_any_error_can_be_encoded(error: UserError) -> None:
    """Also one that carries what JSON has no form for, or too much of it."""
    document = json.loads(problems.encode(error))
    assert document["status"] == 400
    assert len(document["detail"]) < 3_000


def test_every_refusal_of_the_socket_is_in_the_table() -> None:
    """A code that is raised here is documented here."""
    used = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "refusal":
                used |= {leaf.value for leaf in ast.walk(node.args[0]) if isinstance(leaf, ast.Constant)}
    assert {code for code in used if isinstance(code, str)} <= problems.CODES.keys()
    assert len(used) > 15


def test_the_table_is_sound() -> None:
    """Codes are words with dashes, statuses those of refusals, titles sentences without an end."""
    for code, entry in problems.CODES.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert 400 <= entry.status < 600
        assert entry.title[0].isupper()
        assert not entry.title.endswith(".")
