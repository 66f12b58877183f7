"""Errors say whose fault it was and what to do next."""

from __future__ import annotations

from peerd.errors import UserError


def test_an_error_has_the_code_of_its_kind_unless_it_brings_its_own() -> None:
    assert UserError("no").code == "bad-request"
    assert UserError("no", code="too-large").code == "too-large"
