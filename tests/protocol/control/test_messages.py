"""The forms of the socket's bodies."""

from __future__ import annotations

import inspect

import msgspec
import pytest

from peerd.protocol.control import messages as control_messages
from peerd.protocol.control import reports as control_reports
from peerd.protocol.control.messages import (
    ChangeEvent,
    ChangeResult,
    CollectionChange,
    Request,
    Resolution,
    Transaction,
)
from peerd.protocol.control.reports import InvitationEvent

KINDS = [
    kind
    for module in (control_messages, control_reports)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if kind.__module__ == module.__name__
]


def test_requests_refuse_what_they_do_not_know() -> None:
    """A misspelt member is an error; answers on the other hand may grow."""
    requests = [kind for kind in KINDS if issubclass(kind, Request) and kind is not Request]
    assert len(requests) == 11
    for kind in requests:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"no such member": 1}, kind)
    assert msgspec.json.decode(
        b'{"collection":"c","key":"k","etag":null,"later":1}', type=ChangeResult
    ) == ChangeResult(collection="c", key="k", etag=None)


def test_absent_and_null_differ_where_null_is_a_value() -> None:
    """A conflict can be settled by null, a field's policy be taken back by it."""
    assert msgspec.convert({}, Resolution).value is msgspec.UNSET
    assert msgspec.convert({"value": None}, Resolution).value is None
    assert msgspec.convert({"fields": {"a": None}}, CollectionChange).fields == {"a": None}


def test_lines_of_streams_hold_only_what_they_say() -> None:
    assert msgspec.to_builtins(ChangeEvent(kind="reset", token="t")) == {"kind": "reset", "token": "t"}  # noqa: S106 - no secret
    assert msgspec.to_builtins(InvitationEvent(id="i", code="1")) == {"id": "i", "code": "1"}


@pytest.mark.parametrize("kind", ["restore", "", None, 1])
def test_a_change_is_one_of_three(kind: object) -> None:
    """Restores are made by peerd, never asked for."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"changes": [{"kind": kind, "collection": "c", "key": "k"}]}, Transaction)
