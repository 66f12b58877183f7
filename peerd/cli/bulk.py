"""Many records at once: `import` and `export`, as one JSON object per line."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from peerd.cli import exits
from peerd.cli.arguments import Misused
from peerd.cli.ndjson import BATCH_RECORDS, BadLine, Line, batches, read
from peerd.cli.parallel import Writers
from peerd.cli.progress import Progress
from peerd.cli.text import counted, one_line, span
from peerd.control.client import Client, Problem, path
from peerd.errors import PeerdError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output


def add(commands: Commands) -> None:
    importing = commands.add(
        "import",
        "write the records of a file, one JSON object per line",
        f"Up to {BATCH_RECORDS:,} records are one transaction. A bad line ends the import: nothing of its "
        "transaction is written, everything before it is. Importing again changes nothing that is the same.",
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

    def count(self, lines: list[Line], answer: dict[str, Any]) -> None:
        """Take in the answer to one transaction, or to a record written alone."""
        self.records += len(lines)
        self.size_bytes += sum(line.size_bytes for line in lines)
        results = answer.get("results", [answer])
        self.unchanged += sum(result.get("changed") is False for result in results)
        self.transactions += answer.get("changed") is not False


def run_import(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    tally = _Tally()
    started_s = time.monotonic()
    try:
        with _opened(arguments.file) as (source, size_bytes):
            lines = read(source, arguments.key)
            with Progress(sys.stderr, size_bytes, shown=not out.as_json) as progress:
                write = _import_each if arguments.each else _import_batches
                for done, answer in write(arguments, client, lines):
                    tally.count(done, answer)
                    progress.advance(tally.size_bytes, tally.records)
    except BaseException:
        if tally.records:
            out.talk(f"{counted(tally.records, 'record')} had been written before", "yellow")
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
    out.talk(f"imported {counted(tally.records, 'record')} in {many} in {span(took_s)}{unchanged}")
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
        raise Misused(f"cannot read {name}: {error.strerror}", code="no-file") from None
    with source:
        if not source.seekable():
            yield source, None
            return
        size_bytes = source.seek(0, 2)
        source.seek(0)
        yield source, size_bytes


def _import_batches(
    arguments: argparse.Namespace, client: Client, lines: Iterator[Line]
) -> Iterator[tuple[list[Line], dict[str, Any]]]:
    address = path("spaces", arguments.space, "transactions")
    for batch in batches(lines):
        changes = [
            {"kind": "put", "collection": arguments.collection, "key": line.key, "value": line.value} for line in batch
        ]
        try:
            answer = client.call("POST", address, body={"changes": changes}).body
        except Problem as problem:
            problem.args = (f"{_where(batch, problem)}: {problem}",)
            raise
        yield batch, answer


def _where(batch: list[Line], problem: Problem) -> str:
    index = problem.document.get("index")
    if isinstance(index, int) and 0 <= index < len(batch):
        return f"line {batch[index].number}"
    first, last = batch[0].number, batch[-1].number
    return f"lines {first} to {last}" if first < last else f"line {first}"


def _import_each(
    arguments: argparse.Namespace, client: Client, lines: Iterator[Line]
) -> Iterator[tuple[list[Line], dict[str, Any]]]:
    def send(connection: Client, line: Line) -> None:
        address = path("spaces", arguments.space, "records", arguments.collection, line.key)
        connection.send("PUT", address, body=line.value)

    def blame(error: PeerdError, line: Line) -> None:
        if isinstance(error, Problem):
            error.args = (f"line {line.number}: {error}",)

    with Writers(client.socket_path, send, blame) as writers:
        bad: BadLine | None = None
        try:
            for line in lines:
                # One key always goes over one connection, so that its last line is written last.
                for done, answer in writers.put(line.key, line):
                    yield [done], answer.body or {}
        except BadLine as error:
            bad = error
        for done, answer in writers.finish():
            yield [done], answer.body or {}
        if bad:
            raise bad


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
    if keyless:
        out.talk(f"keys that stand in no field of their record: {keyless:,}; --key FIELD writes them", "yellow")
    return exits.OK


def _other_than(value: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: held for name, held in value.items() if name != field}


def _as_key(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    return str(value) if isinstance(value, str | int) else None
