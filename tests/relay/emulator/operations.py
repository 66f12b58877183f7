"""records/modify and records/lookup: what is refused as a whole, what for one record, and what is done."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tests.relay.emulator.assets import AssetHost
from tests.relay.emulator.database import AssetRef, Database, Record, RecordType
from tests.relay.emulator.refused import Refused, bad
from tests.relay.emulator.values import shown_value, stored_value

MAX_ITEMS = 200
RECORD_BYTES = 1_000_000

_NAME = re.compile(r"[^_\x00-\x20\x7f-\U0010ffff][\x21-\x7e]{0,254}")
_WITH_TAG = frozenset({"update", "replace", "delete"})
_TYPES = frozenset({"create", "update", "forceUpdate", "replace", "forceReplace", "delete", "forceDelete"})


@dataclass
class Habits:
    """What is not known of the real service, or differs there: tests try both."""

    collision: Literal["CONFLICT", "EXISTS"] = "CONFLICT"
    deleting_nothing: Literal["success", "NOT_FOUND"] = "success"
    omitted_atomic: bool = True
    shuffled: bool = True
    lookup_lag_s: float = 0.0  # how long a new record is not found
    extra_keys: bool = True


@dataclass
class Session:
    """One request: whose it is, and what it touches. `spoiled` is told the names and gives refusals of a fault."""

    database: Database
    assets: AssetHost
    habits: Habits
    user: str
    new_uuid: Callable[[], str]
    spoiled: Callable[[list[str]], Mapping[str, Refused]] = lambda _names: {}


def check_zone(body: Mapping[str, Any]) -> None:
    zone = body.get("zoneID")
    if zone is not None and (not isinstance(zone, dict) or zone.get("zoneName") != "_defaultZone"):
        raise Refused("ZONE_NOT_FOUND", "Zone does not exist", 404)


def desired_keys(body: Mapping[str, Any], above: list[str] | None = None) -> list[str] | None:
    """None: all."""
    keys = body.get("desiredKeys", above)
    if keys is not None and not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        raise bad("Unexpected input: desiredKeys")
    return keys


def modify(session: Session, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    operations = _whole(session, body)
    keys = desired_keys(body)
    spoiled = session.spoiled([one["record"]["recordName"] for one in operations])
    results = []
    for one in operations:
        name = one["record"]["recordName"]
        try:
            if name in spoiled:
                raise spoiled[name]
            results.append(_apply(session, one, desired_keys(one, keys)))
        except Refused as refused:
            results.append({"recordName": name, **refused.body(session.new_uuid())})
    return results


def lookup(session: Session, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    check_zone(body)
    wanted = body.get("records")
    if isinstance(wanted, dict):
        wanted = [wanted]
    if not isinstance(wanted, list) or not wanted:
        raise bad("Unexpected input: records")
    if len(wanted) > MAX_ITEMS:
        raise bad(f"records: at most {MAX_ITEMS}")
    keys = desired_keys(body)
    names = [one.get("recordName") if isinstance(one, dict) else None for one in wanted]
    if not all(isinstance(name, str) for name in names):
        raise bad("Unexpected input: recordName")
    spoiled = session.spoiled([str(name) for name in names])
    return [
        _look(session, str(name), desired_keys(one, keys), spoiled) for name, one in zip(names, wanted, strict=True)
    ]


def shown(session: Session, record: Record, keys: list[str] | None) -> dict[str, Any]:
    """A record as it is returned."""
    kind = session.database.schema[record.type]
    answer: dict[str, Any] = {
        "recordName": record.name,
        "recordType": record.type,
        "fields": {
            name: shown_value(value, kind.fields[name].kind, _url(session, value))
            for name, value in record.fields.items()
            if keys is None or name in keys
        },
        "pluginFields": {},
        "recordChangeTag": record.tag,
        "created": {"timestamp": record.created_ms, "userRecordName": record.creator, "deviceID": "2"},
        "modified": {"timestamp": record.modified_ms, "userRecordName": record.modifier, "deviceID": "2"},
        "deleted": False,
    }
    if session.habits.extra_keys:
        answer["somethingNew"] = {"of": ["a later version"]}
    return answer


# --- the request as a whole -----------------------------------------------------------------------------------------


def _whole(session: Session, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Everything for which nothing of a request is done."""
    check_zone(body)
    atomic = body.get("atomic", not session.habits.omitted_atomic)
    if not isinstance(atomic, bool):
        raise bad("Unexpected input: atomic")
    if atomic:
        raise bad("atomic operations not supported in default zone")
    operations = body.get("operations")
    if not isinstance(operations, list) or not operations:
        raise bad("Unexpected input: operations")
    if len(operations) > MAX_ITEMS:
        raise bad(f"operations: at most {MAX_ITEMS}")
    for one in operations:
        _check_operation(session, one)
    names = [one["record"]["recordName"] for one in operations]
    if len(set(names)) < len(names):
        raise bad("You can't save the same record twice")
    return operations


def _check_operation(session: Session, one: object) -> None:
    if not isinstance(one, dict) or one.get("operationType") not in _TYPES or not isinstance(one.get("record"), dict):
        raise bad("Unexpected input: operation")
    record = one["record"]
    if one["operationType"] == "create":
        record.setdefault("recordName", session.new_uuid())
    if not isinstance(record.get("recordName"), str):
        raise bad("Unexpected input: recordName")
    if one["operationType"] in _WITH_TAG and not record.get("recordChangeTag"):
        raise bad("BadRequestException: missing required field 'recordChangeTag'")
    if not isinstance(record.get("fields", {}), dict):
        raise bad("Unexpected input: fields")


# --- one record -----------------------------------------------------------------------------------------------------


def _apply(session: Session, one: Mapping[str, Any], keys: list[str] | None) -> dict[str, Any]:
    operation, given = one["operationType"], one["record"]
    name = given["recordName"]
    if not _NAME.fullmatch(name):
        raise bad(f"Invalid record name: {name[:80]}")
    old = session.database.records.get(name)
    if operation in {"delete", "forceDelete"}:
        return _delete(session, operation, given, old)
    _check_presence(session, operation, given, old)
    type_name = given.get("recordType") or (old.type if old else None)
    kind = session.database.type_of(type_name)
    if old is not None and old.type != type_name:
        raise bad("recordType cannot change")
    session.database.require("CREATE" if old is None else "WRITE", kind, session.user, old)
    fields = _fields(session, kind, str(type_name), given)
    if old is not None and operation in {"update", "forceUpdate"}:
        fields = {**old.fields, **fields}
    fields = {name: value for name, value in fields.items() if value is not None}
    if sum(len(value) if isinstance(value, bytes | str) else 8 for value in fields.values()) > RECORD_BYTES:
        raise bad("record size exceeds the limit")
    return shown(session, session.database.put(name, str(type_name), fields, session.user), keys)


def _check_presence(session: Session, operation: str, given: Mapping[str, Any], old: Record | None) -> None:
    if operation == "create":
        if old is not None:
            raise Refused(session.habits.collision, "record to insert already exists", 409)
    elif operation in _WITH_TAG:
        if old is None:
            raise Refused("NOT_FOUND", "recordChangeTag specified, but record not found", 404)
        if old.tag != given["recordChangeTag"]:
            raise Refused("CONFLICT", "client oplock error updating record", 409)


def _delete(session: Session, operation: str, given: Mapping[str, Any], old: Record | None) -> dict[str, Any]:
    name = given["recordName"]
    if old is None:
        if session.habits.deleting_nothing == "NOT_FOUND":
            raise Refused("NOT_FOUND", "Record not found", 404)
        return {"recordName": name, "deleted": True}
    if operation == "delete" and old.tag != given["recordChangeTag"]:
        raise Refused("CONFLICT", "client oplock error updating record", 409)
    session.database.require("WRITE", session.database.schema[old.type], session.user, old)
    session.database.remove(name)
    return {"recordName": name, "deleted": True}


def _fields(session: Session, kind: RecordType, type_name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for field, value in given.get("fields", {}).items():
        kept = stored_value(type_name, field, kind.fields.get(field), value)
        if isinstance(kept, Mapping):
            kept = session.assets.attach(session.database, given["recordName"], field, kept)
        fields[field] = kept
    return fields


def _look(session: Session, name: str, keys: list[str] | None, spoiled: Mapping[str, Refused]) -> dict[str, Any]:
    try:
        return shown(session, _readable(session, name, spoiled), keys)
    except Refused as refused:
        answer = {"recordName": name, "reason": refused.reason, "serverErrorCode": refused.code}
        return answer if refused.code == "NOT_FOUND" else {**answer, **refused.extra, "uuid": session.new_uuid()}


def _readable(session: Session, name: str, spoiled: Mapping[str, Refused]) -> Record:
    if name in spoiled:
        raise spoiled[name]
    record = session.database.records.get(name)
    if record is None or session.database.now() * 1000 < record.created_ms + session.habits.lookup_lag_s * 1000:
        raise Refused("NOT_FOUND", "Record not found", 404)
    session.database.require("READ", session.database.schema[record.type], session.user, record)
    return record


def _url(session: Session, value: object) -> str:
    return session.assets.download_url(value) if isinstance(value, AssetRef) else ""
