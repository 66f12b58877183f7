"""What a person should know of the bindings of a space: what keeps tables from being in step, and what waits."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from peerd.core.tables.changes import Parked
from peerd.engine.space import Space
from peerd.engine.tables.parked_advice import parked_rows
from peerd.engine.tables.renewed import WAITS
from peerd.engine.tables.reports import MISSING_STEP, missing_words, news_step, news_words
from peerd.engine.tables.runner import BindingRunner
from peerd.errors import PeerdError
from peerd.protocol.control.reports import TableNotice

PARKED = "parked"


def troubles(
    space: Space, runners: Mapping[str, BindingRunner], undone: Mapping[str, PeerdError], unread: PeerdError | None
) -> Iterator[TableNotice]:
    """What keeps tables from being in step, the worst first. `undone` are bindings that the configuration names and
    that could not be made, `unread` is why none of the bindings can be read.
    """
    if unread is not None:
        yield TableNotice(
            binding="", code=unread.code, reason=f"its bindings cannot be read: {unread}", next_step=unread.next_step
        )
    for name, problem in undone.items():
        reason = f"not bound as the configuration wants it: {problem}"
        yield TableNotice(binding=name, code=problem.code, reason=reason, next_step=problem.next_step)
    named = sorted(runners.items())
    for name, runner in named:
        if runner.trouble is not None:
            found = runner.trouble
            yield TableNotice(binding=name, code=found.code, reason=str(found), next_step=found.next_step)
    for name, runner in named:
        if runner.harvesting.missing:
            yield TableNotice(
                binding=name,
                code="table-missing",
                reason=missing_words(runner.harvesting.missing),
                next_step=MISSING_STEP,
            )
    for name, runner in named:
        if runner.harvesting.news:
            step = news_step(space.name, runner)
            yield TableNotice(binding=name, code="table-new", reason=news_words(runner.harvesting.news), next_step=step)
    for name, runner in named:
        yield from _held(space, name, runner)


def _held(space: Space, name: str, runner: BindingRunner) -> Iterator[TableNotice]:
    for table, rows in sorted(runner.harvesting.held_now.items()):
        command, named = f"peerctl tables held {space.name} {name}", shlex.quote(table)
        yield TableNotice(
            binding=name,
            table=table,
            code="held",
            rows=rows,
            reason=f"{rows} deleted rows of {table} are held, because they are so many",
            next_step=f"`{command} --approve {named}` deletes them on all devices; --restore {named} brings them back",
        )


async def parked(space: Space, runners: Mapping[str, BindingRunner]) -> list[TableNotice]:
    """Records that their tables cannot show: one notice for each table and cause, which tells of the first."""
    notices: list[TableNotice] = []
    for name, runner in sorted(runners.items()):
        groups: dict[tuple[str, str], list[Parked]] = {}
        for one in runner.projecting.parked_now:
            groups.setdefault((one.collection, one.code), []).append(one)
        firsts = [group[0] for group in groups.values()]
        told = await parked_rows(
            space, runner.binding.plan, runner.harvesting.schema, firsts, runner.projecting.parked_now
        )
        for row, group in zip(told, groups.values(), strict=True):
            count = (
                f"{len(group)} rows of {row.table} are parked" if len(group) > 1 else f"a row of {row.table} is parked"
            )
            first = f"{row.collection}/{row.key}"
            reason = f"{count}, {'the first is ' if len(group) > 1 else ''}{first}: {row.reason}"
            more = f" All are in `peerctl tables list --space {space.name}`." if len(group) > 1 else ""
            notices.append(
                TableNotice(
                    binding=name, table=row.table, code=f"{PARKED}-{row.code}", rows=len(group), reason=reason,
                    next_step=f"{row.next_step}{more}",
                )
            )  # fmt: skip
    return notices


def asks_for_nobody(notice: TableNotice) -> bool:
    """Is it no trouble of the space: rows that wait for others, or a file that waits for its copy?"""
    return notice.code == WAITS or notice.code.startswith(PARKED)


def in_words(notice: TableNotice) -> str:
    """The reason, for a space that has several bindings."""
    return f"tables {notice.binding}: {notice.reason}" if notice.binding else notice.reason
