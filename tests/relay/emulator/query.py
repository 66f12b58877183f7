"""records/query: only over indexes, which lag behind, in pages."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from tests.relay.emulator.database import Database, Record, RecordType
from tests.relay.emulator.operations import Session, check_zone, desired_keys, shown
from tests.relay.emulator.refused import bad
from tests.relay.emulator.values import stored_value

PAGE = 100

_SYSTEM: dict[str, Callable[[Record], Any]] = {
    "recordName": lambda record: record.name,
    "createdTimestamp": lambda record: record.created_ms,
    "modifiedTimestamp": lambda record: record.modified_ms,
    "createdUserRecordName": lambda record: record.creator,
    "modifiedUserRecordName": lambda record: record.modifier,
}
_COMPARATORS: dict[str, Callable[[Any, Any], Any]] = {
    "EQUALS": operator.eq,
    "NOT_EQUALS": operator.ne,
    "LESS_THAN": operator.lt,
    "LESS_THAN_OR_EQUALS": operator.le,
    "GREATER_THAN": operator.gt,
    "GREATER_THAN_OR_EQUALS": operator.ge,
    "IN": lambda value, wanted: value in wanted,
    "NOT_IN": lambda value, wanted: value not in wanted,
    "BEGINS_WITH": lambda value, wanted: str(value).startswith(str(wanted)),
}

Test = Callable[[Record], bool]


def query(session: Session, body: Mapping[str, Any]) -> dict[str, Any]:
    """A page of what an index knows by now."""
    check_zone(body)
    asked = body.get("query")
    if not isinstance(asked, dict):
        raise bad("Unexpected input: query")
    database = session.database
    kind = database.type_of(asked.get("recordType"))
    if not kind.indexed:
        raise bad("Type is not marked indexable")
    tests = [_test(kind, str(asked["recordType"]), one) for one in _list(asked, "filterBy")]
    if not tests:
        _require_index(kind, {"systemFieldName": "recordName"}, "queryable")
    database.require("READ", kind, session.user, None)
    found = [one for one in database.records.values() if one.type == asked["recordType"] and _visible(database, one)]
    found = [one for one in found if all(test(one) for test in tests)]
    for one in reversed(_list(asked, "sortBy")):
        found.sort(key=_value(kind, one, "sortable"), reverse=not one.get("ascending", True))
    return _page(session, body, found, repr(asked))


def _page(session: Session, body: Mapping[str, Any], found: list[Record], asked: str) -> dict[str, Any]:
    start = 0
    if body.get("continuationMarker") is not None:
        number, _, query_of = str(body["continuationMarker"]).partition(":")
        if not number.isdigit() or query_of != asked:
            raise bad("Unknown continuation marker")
        start = int(number)
    limit = min(int(body.get("resultsLimit", PAGE)), PAGE)
    keys = desired_keys(body)
    answer: dict[str, Any] = {"records": [shown(session, one, keys) for one in found[start : start + limit]]}
    if start + limit < len(found):
        answer["continuationMarker"] = f"{start + limit}:{asked}"
    return answer


def _visible(database: Database, record: Record) -> bool:
    return record.indexed_at <= database.now()


def _test(kind: RecordType, type_name: str, one: Any) -> Test:
    if not isinstance(one, dict) or one.get("comparator") not in _COMPARATORS:
        raise bad("Unexpected input: filterBy")
    given = one.get("fieldValue")
    if not isinstance(given, dict) or "value" not in given:
        raise bad("Unexpected input: fieldValue")
    wanted = given["value"]
    if one["comparator"] in {"IN", "NOT_IN"}:
        if not str(given.get("type", "")).endswith("_LIST") or not isinstance(wanted, list):
            raise bad("Unexpected input")
    elif "fieldName" in one:
        wanted = stored_value(type_name, str(one["fieldName"]), kind.fields.get(str(one["fieldName"])), given)
    value, compare = _value(kind, one, "queryable"), _COMPARATORS[one["comparator"]]

    def passes(record: Record) -> bool:
        found = value(record)
        return found is not None and bool(compare(found, wanted))

    return passes


def _value(kind: RecordType, one: Mapping[str, Any], index: str) -> Callable[[Record], Any]:
    _require_index(kind, one, index)
    if "systemFieldName" in one:
        return _SYSTEM[str(one["systemFieldName"])]
    return lambda record: record.fields.get(str(one["fieldName"]))


def _require_index(kind: RecordType, one: Mapping[str, Any], index: str) -> None:
    name = str(one.get("systemFieldName", one.get("fieldName")))
    if "systemFieldName" in one:
        if name not in _SYSTEM or name not in kind.system_indexes:
            raise bad(f"Field '{name}' is not marked {index}")
        return
    if name not in kind.fields:
        raise bad(f"Did not find field '{name}'")
    if not getattr(kind.fields[name], index):
        raise bad(f"Field '{name}' is not marked {index}")


def _list(asked: Mapping[str, Any], key: str) -> list[Any]:
    found = asked.get(key, [])
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list):
        raise bad(f"Unexpected input: {key}")
    return found
