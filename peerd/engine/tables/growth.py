"""What binding a file again would take in, decided before anything is touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from peerd.core.tables.extending import Extension, choices_for, extended, scope
from peerd.core.tables.proposals import Choices, Proposal
from peerd.core.tables.settings import BindingSettings
from peerd.core.tables.shape import Schema
from peerd.core.tables.shared import SharedPlan
from peerd.engine.space import Space
from peerd.engine.tables import shared_plans
from peerd.engine.tables.ports import TableFiles
from peerd.engine.tables.reports import count, first_step, report_of_more
from peerd.engine.tables.runner import BindingRunner
from peerd.engine.tables.wishes import check_against, check_names, choices_of
from peerd.protocol.control.tables import BindingReport, NewBinding


class Growth(NamedTuple):
    """`settings` are those of the binding afterwards, `known` is what the space says of its tables before."""

    extension: Extension
    report: BindingReport
    settings: BindingSettings
    known: Mapping[str, SharedPlan]
    schema: Schema


async def growth_of(
    space: Space,
    runner: BindingRunner,
    wish: NewBinding,
    files: TableFiles,
    propose: Callable[[Schema, str, Choices], Proposal],
    *,
    declared: bool,
) -> Growth:
    """What a wish about a bound file comes to. `declared`: the configuration wants it.

    Raises:
        UserError: tables-unknown, tables-refused.
        StoreError: the file cannot be read.
    """
    plan, database, choices = runner.binding.plan, Path(runner.binding.database), choices_of(wish)
    schema = await files.read_schema(database)
    check_names(schema, choices, database, declared=declared)
    check_against(plan, choices, space.name, declared=declared)
    known = await shared_plans.load(space, plan.name)
    everything = choices_for(plan, schema, runner.settings, shared_plans.taken_over(choices, known))
    proposal = propose(schema, plan.name, everything)
    if wish.suggested:
        proposal = propose(schema, plan.name, proposal.suggested(everything))
    extension = extended(plan, proposal)
    counts = await count(space, files, database, extension.new)
    first = first_step(counts, merge=wish.merge, adopt=wish.adopt)
    report = report_of_more(plan, str(database), proposal, extension, counts, first)
    return Growth(extension, report, scope(runner.settings, choices), known, schema)
