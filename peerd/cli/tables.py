"""Applications' databases: `tables bind`, `unbind`, `list` and `held`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from peerd.cli import exits
from peerd.cli.arguments import Misused
from peerd.cli.table_reports import is_nothing_new, say_done, show, what_is_bound
from peerd.control.client import Client, path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output

KEYS: Final = ("natural", "surrogate", "content")
TRIGGERS: Final = ("run", "skip")
STYLES: Final = {"trouble": "red", "in step": "green", "catching up": "yellow", "held": "yellow"}


def add(commands: Commands) -> None:
    family = commands.family("tables", "bind the tables of applications' databases to spaces")
    _add_bind(family)
    unbind = family.add(
        "unbind",
        "unbind a database",
        "Every trace of peerd in the file is removed. The rows stay, and so do the records of the space. If the file "
        "is not there, or cannot be written, it stays bound; --force forgets it all the same, and says what is left.",
    )
    unbind.add_argument("space", metavar="SPACE", nargs="?")
    unbind.add_argument("name", metavar="NAME", nargs="?")
    unbind.add_argument("--force", action="store_true", help="forget the binding even if the file cannot be cleaned")
    unbind.add_argument(
        "--file", metavar="PATH", help="instead of SPACE NAME: clean a file that no binding knows any more"
    )
    unbind.set_defaults(run=run_unbind)
    listing = family.add("list", "list the bound tables of this device", "Exit code 4 if one of them has trouble.")
    listing.add_argument("--space", help="only of this one")
    listing.set_defaults(run=run_list)
    held = family.add(
        "held",
        "show deletes that are held, approve or undo them",
        "When an application deletes many rows at once, the deletes are held until a person has looked at them.",
    )
    held.add_argument("space", metavar="SPACE")
    held.add_argument("name", metavar="NAME")
    held.add_argument("table", metavar="TABLE", nargs="?", help="only of this one")
    how = held.add_mutually_exclusive_group()
    for option, what in (
        ("--approve", "they were meant: delete on all devices"),
        ("--restore", "they were not: bring the rows back"),
    ):
        how.add_argument(option, metavar="TABLE", nargs="?", const="", help=f"{what}; without TABLE: all of them")
    held.set_defaults(run=run_held)


def _add_bind(family: Commands) -> None:
    bind = family.add(
        "bind",
        "bind the tables of a database to a space",
        "First it says what it would do. What the schema does not tell is asked on a terminal; elsewhere the options "
        "have to say it. Of a file that is bound already it takes in what the application has added since; what is "
        "bound stays as it is.",
    )
    bind.add_argument("space", metavar="SPACE")
    bind.add_argument("database", metavar="DATABASE", help="the application's SQLite file")
    bind.add_argument("--name", help="default: after the file; the same on all devices")
    bind.add_argument("--include", metavar="TABLE", action="append", default=[], help="only this one (repeatable)")
    bind.add_argument("--exclude", metavar="TABLE", action="append", default=[], help="not this one (repeatable)")
    bind.add_argument(
        "--key",
        metavar="TABLE=CLASS",
        action="append",
        default=[],
        help="natural: an equal key is the same row; surrogate: its integers are this device's own; "
        "content: rows with equal columns are the same (repeatable)",
    )
    bind.add_argument(
        "--match", metavar="TABLE=COLUMN,...", action="append", default=[], help="columns of `content` (repeatable)"
    )
    bind.add_argument(
        "--reference",
        metavar="TABLE.COLUMN=TABLE",
        action="append",
        default=[],
        help="the column holds keys of that table, though the schema does not say so (repeatable)",
    )
    bind.add_argument(
        "--triggers",
        metavar="TABLE=run|skip",
        action="append",
        default=[],
        help="do the application's triggers run when peerd writes? (repeatable)",
    )
    both = bind.add_mutually_exclusive_group()
    both.add_argument("--merge", action="store_true", help="both sides have data: bring them together")
    both.add_argument("--adopt", action="store_true", help="both sides have data: the file's give way, after a backup")
    bind.add_argument("--dry-run", action="store_true", help="only say what it would do")
    bind.add_argument("--yes", action="store_true", help="do not ask; where there is a harmless answer, that is it")
    bind.set_defaults(run=run_bind)


# --- bind -----------------------------------------------------------------------------------------------


def run_bind(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    body = _wish(arguments)
    where = path("spaces", arguments.space, "bindings")
    # A large file is read whole before it is bound, and copied with --adopt.
    with Client(client.socket_path, timeout_s=None) as patient:
        report = patient.call("POST", where, body={**body, "dry_run": True}).body
        while (open_ones := _open(report)) and _may_ask(arguments):
            show(report, out)
            _ask(open_ones, body, out)
            report = patient.call("POST", where, body={**body, "dry_run": True}).body
        if arguments.dry_run:
            return say_done(report, out)
        if not _open(report) and _may_ask(arguments) and not is_nothing_new(report):
            show(report, out)
            if not out.ask(f"Bind {what_is_bound(report)} to {arguments.space}?"):
                out.talk("nothing bound")
                return exits.FAILED
            return say_done(patient.call("POST", where, body=body).body, out, is_known=True)
        return say_done(patient.call("POST", where, body=body).body, out)


def _may_ask(arguments: argparse.Namespace) -> bool:
    return not (arguments.yes or arguments.dry_run or arguments.json) and sys.stdin.isatty()


def _wish(arguments: argparse.Namespace) -> dict[str, Any]:
    body: dict[str, Any] = {"database": str(Path(arguments.database).expanduser().absolute())}
    if arguments.name:
        body["name"] = arguments.name
    body |= {name: getattr(arguments, name) for name in ("include", "exclude") if getattr(arguments, name)}
    body |= {name: True for name in ("merge", "adopt") if getattr(arguments, name)}
    if arguments.yes:
        body["suggested"] = True
    for member, texts, choices in (
        ("keys", arguments.key, KEYS),
        ("references", arguments.reference, ()),
        ("triggers", arguments.triggers, TRIGGERS),
    ):
        if texts:
            body[member] = dict(_pair(text, choices) for text in texts)
    if arguments.match:
        body["match"] = {table: columns.split(",") for table, columns in map(_pair, arguments.match)}
    return body


def _pair(text: str, choices: Sequence[str] = ()) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise Misused(f"{text} is not NAME=VALUE")
    if choices and value not in choices:
        raise Misused(f"{text}: {value} is none of {', '.join(choices)}")
    return name, value


def _open(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The questions that somebody has to answer."""
    found: list[dict[str, Any]] = list(report.get("questions", ()))
    if report["first"] == "undecided":
        question = "Both the file and the space have data. Bring them together, or let the file's rows give way?"
        found.append({"table": "", "option": "first", "question": question, "answers": ["merge", "adopt"]})
    return found


def _ask(questions: Sequence[Mapping[str, Any]], body: dict[str, Any], out: Output) -> None:
    """Put the answers into `body`. Raises Misused if there is none."""
    for question in questions:
        answers = question.get("answers") or []
        about = f"{question['table']}: " if question["table"] else ""
        suggestion = str(question.get("suggestion") or "")
        hint = f" [{'/'.join(answers)}]" if answers else ""
        hint += f" ({suggestion})" if suggestion else ""
        answer = out.ask_text(f"{about}{question['question']}{hint}") or suggestion
        if not answer or (answers and answer not in answers):
            raise Misused("that is no answer", next_step="nothing was bound; start again")
        _put(body, question["option"], question["table"], answer)


def _put(body: dict[str, Any], option: str, name: str, answer: str) -> None:
    if option == "first":
        body[answer] = True
    elif option == "match":
        body.setdefault("keys", {})[name] = "content"
        body.setdefault("match", {})[name] = [column.strip() for column in answer.split(",")]
    elif option in {"include", "exclude"}:
        body.setdefault(option, []).append(name)
    else:
        body.setdefault(option, {})[name] = answer


# --- the rest -------------------------------------------------------------------------------------------


def run_unbind(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    if arguments.file is not None:
        return _clean(arguments, client, out)
    if not arguments.space or not arguments.name:
        raise Misused("name the space and the binding, or give --file PATH")
    where = path("spaces", arguments.space, "bindings", arguments.name)
    answer = client.call("DELETE", where, query={"force": "yes"} if arguments.force else None).body
    if out.as_json:
        out.document(answer)
        return exits.OK
    out.talk(f"unbound {arguments.name}; rows and records stay")
    if not answer["cleaned"]:
        out.talk(answer["left"], "yellow")
        out.talk(f"  next: {answer['next_step']}")
    return exits.OK


def _clean(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    if arguments.space or arguments.force:
        raise Misused("--file stands alone")
    file = str(Path(arguments.file).expanduser().absolute())
    answer = client.call("POST", path("tables", "clean"), body={"database": file}).body
    if out.as_json:
        out.document(answer)
    else:
        out.talk(f"cleaned {file}; its rows stay" if answer["cleaned"] else f"nothing of peerd was in {file}")
    return exits.OK


def run_list(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    names = [space["name"] for space in client.call("GET", path("spaces")).body["spaces"] if space["id"]]
    spaces = [arguments.space] if arguments.space else names
    found = {space: client.call("GET", path("spaces", space, "bindings")).body["bindings"] for space in spaces}
    bindings = [(space, binding) for space, of_it in found.items() for binding in of_it]
    if out.as_json:
        out.document({"bindings": [{"space": space, **binding} for space, binding in bindings]})
    else:
        _list(bindings, out)
    return exits.DEGRADED if any(binding["reason"] for _, binding in bindings) else exits.OK


def _list(bindings: Sequence[tuple[str, Mapping[str, Any]]], out: Output) -> None:
    rows = [
        [
            space, binding["name"], table["table"], table["key"], binding["state"],
            table["rows"], table["waiting"], table["parked"], table["held"],
        ]
        for space, binding in bindings
        for table in binding["tables"]
    ]  # fmt: skip
    out.table(("SPACE", "NAME", "TABLE", "KEY", "STATE", "ROWS", "WAITING", "PARKED", "HELD"), rows, STYLES)
    for _, binding in bindings:
        if binding["reason"]:
            out.talk(f"{binding['name']} ({binding['database']}): {binding['reason']}", "yellow")
            if binding["next_step"]:
                out.talk(f"  next: {binding['next_step']}")
        told = set()
        for row in binding["parked"]:
            out.talk(f"parked: {row['table']} {row['key']}: {row['reason']}")
            kind = row["table"], row["code"]
            if row.get("next_step") and kind not in told:  # of each kind once: what is to do is alike
                out.talk(f"  next: {row['next_step']}")
                told.add(kind)
        for row in binding["not_captured"]:
            out.talk(f"not captured: {row['table']}: {row['reason']}", "yellow")
    if not bindings:
        out.talk("no tables are bound: `peerctl tables bind SPACE DATABASE`")


def run_held(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    where = path("spaces", arguments.space, "bindings", arguments.name, "held")
    action = "approve" if arguments.approve is not None else "restore" if arguments.restore is not None else ""
    table = arguments.table or arguments.approve or arguments.restore
    held = _of_table(client.call("GET", where).body, table)
    is_answered = bool(action and held)
    if is_answered:
        body = {"action": action} | ({"table": table} if table else {})
        held = _of_table(client.call("POST", where, body=body).body, table)
    if out.as_json:
        out.document({"held": held})
        return exits.OK
    out.table(("TABLE", "DELETED ROWS"), [[one["table"], one["rows"]] for one in held])
    if is_answered:
        out.talk("approved: the rows are deleted on all devices" if action == "approve" else "restored")
    elif held:
        out.talk(f"peerctl tables held {arguments.space} {arguments.name} --approve, or --restore")
    else:
        out.talk(f"no deletes of {table} are held" if table else "no deletes are held")
    return exits.OK


def _of_table(answer: Mapping[str, Any], table: str | None) -> list[dict[str, Any]]:
    return [one for one in answer["held"] if not table or one["table"] == table]
