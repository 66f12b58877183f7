"""What `tables bind` says: what binding a database does, or would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from peerd.cli import exits
from peerd.cli.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from peerd.cli.output import Output

_NAMED: Final = 4  # of tables that have something in common
_FIRST: Final = {
    "harvest": "the rows of the file become records",
    "project": "the records of the space become rows",
    "merge": "rows and records of the same key become one; where both differ, that is a conflict",
    "adopt": "the file is copied to `backups` in the state directory, and its rows give way to the records",
    "nothing": "neither the file nor the space has data yet",
    "undecided": "both the file and the space have data: --merge or --adopt",
}


def is_nothing_new(report: Mapping[str, Any]) -> bool:
    """Is the file bound, with all that can be?"""
    return bool(report.get("kept")) and not report["tables"] and not report.get("changes")


def what_is_bound(report: Mapping[str, Any]) -> str:
    """In a question."""
    if not report.get("kept"):
        return counted(len(report["tables"]), "table")
    parts = [counted(len(report["tables"]), "more table")] if report["tables"] else []
    return " and ".join([*parts, *([counted(len(report["changes"]), "change")] if report.get("changes") else [])])


def say_done(report: Mapping[str, Any], out: Output, *, is_known: bool = False) -> int:
    """Say what came of it. `is_known`: who looks on has just seen the tables."""
    if out.as_json:
        out.document(report)
        return exits.OK
    if not is_known:
        show(report, out)
    elif report.get("backup"):
        out.talk(f"the file as it was: {report['backup']}")
    if is_nothing_new(report):
        out.talk(f"nothing new: {report['name']} stays as it is")
    elif report["bound"]:
        out.talk(f"bound as {report['name']}; `peerctl tables list` shows how it stands")
    else:
        out.talk("nothing bound yet")
    return exits.OK


def show(report: Mapping[str, Any], out: Output) -> None:
    """Everything, for a person."""
    tables = report["tables"]
    if out.on_terminal:
        _show_briefly(tables, out)
    else:
        out.table((), [_cells(table) for table in tables])
    for note in _notes(tables):
        out.talk(note)
    for reason, names in _grouped((left["reason"], left["table"]) for left in report.get("left_out", ())):
        out.talk(f"not bound: {_some(names)}: {reason}", "yellow")
    for question in report.get("questions", ()):
        out.talk(f"open: {question['table']}: {question['question']}", "yellow")
    for change in report.get("changes", ()):
        out.talk(f"changes: {change}", "yellow")
    if report.get("kept"):
        out.talk(f"bound already, and stays as it is: {', '.join(report['kept'])}")
    if tables or not report.get("kept"):
        out.talk(_FIRST.get(report["first"], report["first"]))
    if report["first"] in {"undecided", "merge"}:
        _warn_of_doubles(tables, out)
    if report.get("backup"):
        out.talk(f"the file as it was: {report['backup']}")


def _cells(table: Mapping[str, Any]) -> list[object]:
    return [
        table["table"],
        table["key"] + (f" ({', '.join(table['identity'])})" if table.get("identity") else ""),
        ", ".join(f"{column} -> {parent}" for column, parent in table.get("references", {}).items()),
        table.get("triggers", ""),
        table.get("rows", 0),
        table.get("records", 0),
        table["collection"],
    ]


def _show_briefly(tables: Sequence[Mapping[str, Any]], out: Output) -> None:
    """For eyes: references are told in the notes, and collections are named after the tables."""
    has_triggers = any(table.get("triggers") for table in tables)
    rows = []
    for table in tables:
        name, key, _, triggers, count, records, _ = _cells(table)
        rows.append([name, key, *([triggers] if has_triggers else []), count, records])
    out.table(("TABLE", "KEY", *(("TRIGGERS",) if has_triggers else ()), "ROWS", "RECORDS"), rows)


def _notes(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is true of several tables is said once, before what is true of one."""
    found = _grouped((note, table["table"]) for table in tables for note in table.get("notes", ()))
    shared = [f"{_some(names)}: {note}" for note, names in found if len(names) > 1]
    of_one = {note for note, names in found if len(names) == 1}
    return shared + [
        f"{table['table']}: {note}" for table in tables for note in table.get("notes", ()) if note in of_one
    ]


def _some(names: Sequence[str]) -> str:
    first = ", ".join(names[:_NAMED])
    return f"{first} and {len(names) - _NAMED} more" if len(names) > _NAMED else first


def _grouped(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for text, name in pairs:
        found.setdefault(text, []).append(name)
    return list(found.items())


def _warn_of_doubles(tables: Sequence[Mapping[str, Any]], out: Output) -> None:
    """Rows of `surrogate` tables meet nothing: who merges two copies of the same data has all of it twice."""
    doubled = []
    for table in tables:
        unknown = table.get("rows", 0) - table.get("known", 0)
        if table.get("known"):
            words = counted(table["known"], "row was", "rows were")
            out.talk(f"{table['table']}: {words} bound before, and will meet their records")
        if table["key"] == "surrogate" and unknown and table.get("records"):
            doubled.append(f"{table['table']} ({counted(unknown, 'row')}, {counted(table['records'], 'record')})")
    if doubled:
        out.talk(
            f"--merge makes new records of the rows of {', '.join(doubled)}; what is in both is there twice", "yellow"
        )
