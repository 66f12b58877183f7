"""Many records at once: `import` and `export`, as one JSON object per line."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from peerd.cli import arrival, exits
from peerd.cli.arguments import Misused
from peerd.cli.ndjson import BATCH_RECORDS, BadLine, Line, batches, read
from peerd.cli.progress import Progress
from peerd.cli.text import counted, one_line, span
from peerd.control.client import Client, Problem, path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output

_SHORT_S = 10.0  # below, tenths are worth printing


def add(commands: Commands) -> None:
    importing = commands.add(
        "import",
        "write the records of a file, one JSON object per line",
        f"Up to {BATCH_RECORDS:,} records are one transaction. A bad line ends the import: nothing of its "
        "transaction is written, everything before it is. A key that comes again is written again, in a later "
        "transaction: the last line counts. Importing again changes nothing that is the same. "
        f"With --each, {BATCH_RECORDS:,} transactions are sent at a time: everything before the bad line is written, "
        "and lines after it that were sent along with it may be.",
    )
    importing.add_argument("space", metavar="SPACE")
    importing.add_argument("collection", metavar="COLLECTION")
    importing.add_argument("file", metavar="FILE.ndjson", help="- reads stdin")
    importing.add_argument("--key", metavar="FIELD", required=True, help="the field whose value is the record's key")
    importing.add_argument("--each", action="store_true", help="a transaction for each record")
    importing.set_defaults(run=run_import)

    exporting = commands.add(
        "export",
        "print all records of a collection, one JSON object per line",
        "The lines can be imported again with the same --key.",
    )
    exporting.add_argument("space", metavar="SPACE")
    exporting.add_argument("collection", metavar="COLLECTION")
    exporting.add_argument("--key", metavar="FIELD", help="write the key into this field")
    exporting.set_defaults(run=run_export)


class _Tally:
    """What an import has done so far."""

    def __init__(self) -> None:
        self.records = self.transactions = self.unchanged = self.size_bytes = 0

    def count(self, lines: list[Line], transactions: list[dict[str, Any]]) -> None:
        """Take in what became of some lines, in one transaction or in several."""
        self.records += len(lines)
        self.size_bytes += sum(line.size_bytes for line in lines)
        for written in transactions:
            self.unchanged += sum(result.get("changed") is False for result in written["results"])
            self.transactions += written["changed"] is not False


def run_import(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    tally = _Tally()
    started_s = time.monotonic()
    try:
        with _opened(arguments.file) as (source, size_bytes):
            lines = read(source, arguments.key)
            with Progress(sys.stderr, size_bytes, shown=not out.as_json) as progress:
                write = _import_each if arguments.each else _import_batches
                for done, transactions in write(arguments, client, lines):
                    tally.count(done, transactions)
                    progress.advance(tally.size_bytes, tally.records)
    except BaseException as problem:
        if tally.records:
            out.talk(f"{counted(tally.records, 'record')} had been written before", "yellow")
        elif isinstance(problem, BadLine):
            out.talk("nothing of the file was written", "yellow")
        raise
    took_s = time.monotonic() - started_s
    if out.as_json:
        out.document(
            {
                "imported": tally.records,
                "unchanged": tally.unchanged,
                "transactions": tally.transactions,
                "took_ms": round(took_s * 1000),
            }
        )
        return exits.OK
    unchanged = f", {tally.unchanged:,} of them unchanged" if tally.unchanged else ""
    many = counted(tally.transactions, "transaction")
    took = span(took_s) if took_s >= _SHORT_S else f"{took_s:.1f} s"
    out.talk(f"imported {counted(tally.records, 'record')} in {many} in {took}{unchanged}")
    return exits.OK


@contextmanager
def _opened(name: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """The file and its size, which is unknown for stdin and pipes."""
    if name == "-":
        yield sys.stdin.buffer, None
        return
    try:
        source = open(name, "rb")  # noqa: SIM115, PTH123 - closed below; pathlib is slow to import
    except OSError as error:
        raise Misused(
            f"cannot read {name}: {error.strerror}",
            code="no-file",
            next_step="give the path of a file with one JSON object in each line, or - for stdin",
        ) from None
    with source:
        if not source.seekable():
            yield source, None
            return
        size_bytes = source.seek(0, 2)
        source.seek(0)
        yield source, size_bytes


def _import_batches(
    arguments: argparse.Namespace, client: Client, lines: Iterator[Line]
) -> Iterator[tuple[list[Line], list[dict[str, Any]]]]:
    for batch in batches(lines):
        yield batch, [_send(arguments, client, "transactions", batch)]


def _import_each(
    arguments: argparse.Namespace, client: Client, lines: Iterator[Line]
) -> Iterator[tuple[list[Line], list[dict[str, Any]]]]:
    bad: list[BadLine] = []
    for batch in batches(_up_to_bad(lines, bad)):
        outcomes = list(zip(batch, _send(arguments, client, "writes", batch)["results"], strict=True))
        written = [(line, outcome) for line, outcome in outcomes if "error" not in outcome]
        yield [line for line, _ in written], [outcome for _, outcome in written]
        for line, outcome in outcomes:
            if "error" in outcome:
                raise _at(f"line {line.number}", Problem(outcome["error"].get("status", 400), outcome["error"]))
    if bad:
        raise bad[0]


def _up_to_bad(lines: Iterator[Line], bad: list[BadLine]) -> Iterator[Line]:
    """The lines before the first bad one, whose error goes into `bad`: they are written before it is raised."""
    try:
        yield from lines
    except BadLine as error:
        bad.append(error)


def _send(arguments: argparse.Namespace, client: Client, resource: str, batch: list[Line]) -> dict[str, Any]:
    changes = [
        {"kind": "put", "collection": arguments.collection, "key": line.key, "value": line.value} for line in batch
    ]
    try:
        answer: dict[str, Any] = client.call(
            "POST", path("spaces", arguments.space, resource), body={"changes": changes}
        ).body
    except Problem as problem:
        _at(_where(batch, problem), problem)
        raise
    return answer


def _at(where: str, problem: Problem) -> Problem:
    problem.args = (f"{where}: {problem}",)
    return problem


def _where(batch: list[Line], problem: Problem) -> str:
    index = problem.document.get("index")
    if isinstance(index, int) and 0 <= index < len(batch):
        return f"line {batch[index].number}"
    first, last = batch[0].number, batch[-1].number
    return f"lines {first} to {last}" if first < last else f"line {first}"


def run_export(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    views = client.call("GET", path("spaces", arguments.space, "collections")).body["collections"]
    total = next((view["records"] for view in views if view["name"] == arguments.collection), None)
    records = client.pages(path("spaces", arguments.space, "records", arguments.collection), "records")
    keyless = written = 0
    with Progress(sys.stderr, total, shown=not out.on_terminal) as progress:
        for record in records:
            value = record["value"]
            if arguments.key:
                value = {arguments.key: record["key"], **_other_than(value, arguments.key)}
            elif record["key"] not in map(_as_key, value.values()):
                keyless += 1
            out.raw(one_line(value))
            written += 1
            progress.advance(written, written)
    if not written:
        out.talk(f"{arguments.space} has no records in {arguments.collection}", "yellow")
    arrival.tell_if_lacking(arguments.space, client, out)
    if keyless:
        out.talk(f"keys that stand in no field of their record: {keyless:,}; --key FIELD writes them", "yellow")
    return exits.OK


def _other_than(value: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: held for name, held in value.items() if name != field}


def _as_key(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    return str(value) if isinstance(value, str | int) else None
