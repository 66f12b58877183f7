"""How bindings are shown to people."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from peerd.core.tables.extending import Extension, News, of_new_tables, reference_words
from peerd.core.tables.plans import BindingPlan, TablePlan
from peerd.core.tables.proposals import Proposal
from peerd.engine.space import Space
from peerd.engine.tables.parked_advice import parked_rows
from peerd.engine.tables.ports import TableFiles
from peerd.engine.tables.runner import BindingRunner
from peerd.errors import StoreError
from peerd.protocol.control.tables import (
    BindingReport,
    BindingView,
    BoundTable,
    HeldList,
    HeldTable,
    LeftOut,
    TableQuestion,
    TableReport,
)

PARKED_SHOWN = 100
NOT_CAPTURED_SHOWN = 100
MISSING_STEP = (
    "If the application is older here, update it. If it has them no more, unbind the file and bind it again; its other "
    "tables go on meanwhile."
)


class Counts(NamedTuple):
    """By table: rows of the file, and records of the space."""

    rows: Mapping[str, int]
    records: Mapping[str, int]


async def count(space: Space, files: TableFiles, database: Path, tables: Sequence[TablePlan]) -> Counts:
    """What there is on both sides. Raises StoreError."""
    rows = await files.count_rows(database, [table.table for table in tables])
    records = {count.name: count.records for count in await space.store.collections()}
    return Counts(rows, {table.table: records.get(table.collection, 0) for table in tables})


def first_step(counts: Counts, *, merge: bool, adopt: bool) -> str:
    """What happens with the data that is there; see `BindingReport`."""
    rows, records = sum(counts.rows.values()), sum(counts.records.values())
    if rows and records:
        return "merge" if merge else "adopt" if adopt else "undecided"
    return "harvest" if rows else "project" if records else "nothing"


def report_of(name: str, database: str, proposal: Proposal, counts: Counts, first: str) -> BindingReport:
    """What binding would do."""
    return BindingReport(
        name=name,
        database=database,
        bound=False,
        first=first,
        tables=[_table_report(table, proposal, counts) for table in proposal.tables],
        left_out=[LeftOut(table=table, reason=reason) for table, reason in sorted(proposal.left_out.items())],
        questions=[
            TableQuestion(
                table=one.table,
                option=one.option,
                question=one.question,
                answers=list(one.answers),
                suggestion=one.suggestion,
            )
            for one in proposal.questions
        ],
    )


def report_of_more(
    plan: BindingPlan, database: str, proposal: Proposal, extension: Extension, counts: Counts, first: str
) -> BindingReport:
    """What a bind of a file that is bound would do."""
    report = report_of(plan.name, database, of_new_tables(proposal, extension.new), counts, first)
    bound = {one.table for one in plan.tables}
    report.left_out = [one for one in report.left_out if one.table not in bound]
    report.kept = [one.table for one in plan.tables]
    report.changes = [f"{words} from now on" for words in reference_words(extension.references)]
    report.changes += [
        f"{column} stays a plain value: the rows are told apart by it. Unbind and bind again to translate it"
        for column in extension.fixed
    ]
    return report


def news_words(found: News) -> str:
    """A sentence about what the application has added."""
    parts = []
    if found.tables:
        parts.append(f"not bound yet: {', '.join(found.tables)}")
    if found.references:
        parts.append(f"not translated yet: {', '.join(found.references)}")
    return "; ".join(parts)


def news_step(space: str, runner: BindingRunner) -> str:
    """How they are taken in, or left out for good."""
    command = f"peerctl tables bind {space} {shlex.quote(runner.binding.database)}"
    tables = runner.harvesting.news.tables
    leave = f", or --exclude {shlex.quote(tables[0])} to leave it out" if tables else ""
    return f"`{command}` takes them in{leave}"


def _table_report(table: TablePlan, proposal: Proposal, counts: Counts) -> TableReport:
    return TableReport(
        table=table.table,
        collection=table.collection,
        key=str(table.key_class),
        identity=list(table.identity),
        references=dict(table.references),
        triggers=proposal.triggers.get(table.table, ""),
        rows=counts.rows.get(table.table, 0),
        records=counts.records.get(table.table, 0),
        notes=list(proposal.notes.get(table.table, ())),
    )


async def view_of(space: Space, runner: BindingRunner) -> BindingView:
    """How a binding stands. A file that cannot be asked at the moment is shown without numbers."""
    binding = runner.binding
    tables = {
        one.table: BoundTable(table=one.table, collection=one.collection, key=str(one.key_class))
        for one in binding.plan.tables
    }
    view = BindingView(name=binding.name, database=binding.database, state="", tables=list(tables.values()))
    if runner.trouble is None:
        try:
            await _add_numbers(space, runner, view, tables)
        except StoreError as problem:
            view.reason, view.next_step = str(problem), problem.next_step
        if runner.harvesting.missing and not view.reason:
            view.reason, view.next_step = missing_words(runner.harvesting.missing), MISSING_STEP
        if runner.harvesting.news and not view.reason:
            view.reason, view.next_step = news_words(runner.harvesting.news), news_step(space.name, runner)
    else:
        view.reason, view.next_step = str(runner.trouble), runner.trouble.next_step
    held = any(table.held for table in tables.values())
    settled = "in step" if runner.settled.is_set() else "catching up"
    view.state = "trouble" if view.reason else "held" if held else settled
    view.not_captured = [
        LeftOut(table=table, reason=f"row {key}: {why}")
        for table, key, why in runner.harvesting.not_captured[:NOT_CAPTURED_SHOWN]
    ]
    return view


def missing_words(tables: Sequence[str]) -> str:
    """A sentence about tables that the application dropped, or renamed, they or a column that tells rows apart."""
    names = ", ".join(tables)
    return f"not in the file any more, or without a column by which rows are known: {names}; their records are kept"


async def _add_numbers(
    space: Space, runner: BindingRunner, view: BindingView, tables: Mapping[str, BoundTable]
) -> None:
    for name, count in (await runner.counts()).items():
        if (table := tables.get(name)) is not None:
            table.rows, table.waiting, table.parked, table.held = count.rows, count.dirty, count.parked, count.held
    parked = await runner.parked()
    view.parked = await parked_rows(space, runner.binding.plan, runner.harvesting.schema, parked[:PARKED_SHOWN], parked)


async def held_view(runner: BindingRunner) -> HeldList:
    """The deletes that are held now."""
    return HeldList(held=[HeldTable(table=table, rows=rows) for table, rows in sorted((await runner.held()).items())])
