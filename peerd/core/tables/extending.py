"""How a binding grows when the application's schema does: what is bound stays as it is, what is new is decided by the
rules of a first binding.

A bound table keeps its number, its class and its identity, since its rows are records by those. What may come to it are
references: a column that turns out to hold the integers of a table that maps them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.proposals import Choices, Proposal, propose
from peerd.core.tables.settings import BindingSettings
from peerd.core.tables.shape import Schema
from peerd.core.tables.wrong_names import WrongName


class Extension(Struct, frozen=True):
    """`plan` is the whole binding, `new` are the tables that it did not have, `references` are those that bound tables
    did not have (table -> column -> table), `fixed` those that they cannot have any more ("table.column").
    """

    plan: BindingPlan
    new: tuple[TablePlan, ...] = ()
    references: Mapping[str, Mapping[str, str]] = {}
    fixed: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.new and not self.references


class News(Struct, frozen=True):
    """What a file has and its binding does not: tables, those of them that leave something open, references
    ("table.column means rows of table").
    """

    tables: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    references: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tables or self.references)


def scope(settings: BindingSettings, choices: Choices) -> BindingSettings:
    """The settings once a person has named more tables, to be taken in or to be left out."""
    include = (*settings.include, *choices.include) if settings.include else ()
    exclude = [name for name in (*settings.exclude, *choices.exclude) if name not in choices.include]
    return replace(settings, include=tuple(dict.fromkeys(include)), exclude=tuple(dict.fromkeys(exclude)))


def choices_for(plan: BindingPlan, schema: Schema, settings: BindingSettings, choices: Choices) -> Choices:
    """`choices`, of a person or of other devices, together with all that is bound."""
    bound = {one.table: one for one in plan.tables if one.table in schema.tables}
    include = (*settings.include, *choices.include)
    exclude = scope(settings, choices).exclude
    of_triggers = {name: "run" if one.run_triggers else "skip" for name, one in bound.items()}
    return Choices(
        include=(*include, *bound) if include else (),
        exclude=tuple(name for name in exclude if name not in bound),
        keys={**choices.keys, **{name: str(one.key_class) for name, one in bound.items()}},
        match={
            **{name: columns for name, columns in choices.match.items() if name not in bound},
            **{name: one.identity for name, one in bound.items() if one.key_class is KeyClass.CONTENT},
        },
        references={
            **choices.references,
            **{f"{name}.{column}": parent for name, one in bound.items() for column, parent in one.references.items()},
        },
        triggers={**choices.triggers, **of_triggers},
    )


def extended(plan: BindingPlan, proposal: Proposal) -> Extension:
    """`plan` with what `proposal` (made of `choices_for`) has besides."""
    bound = {one.table: one for one in plan.tables}
    number = max((one.number for one in plan.tables), default=0)
    proposed = {one.table for one in proposal.tables}
    tables = [one for one in plan.tables if one.table not in proposed]
    new: list[TablePlan] = []
    references: dict[str, dict[str, str]] = {}
    fixed: list[str] = []
    for one in proposal.tables:
        known = bound.get(one.table)
        if known is None:
            number += 1
            new.append(replace(one, number=number))
            tables.append(new[-1])
            continue
        more = {column: parent for column, parent in one.references.items() if column not in known.references}
        fixed += [f"{one.table}.{column}" for column in more if column in known.identity]
        more = {column: parent for column, parent in more.items() if column not in known.identity}
        if more:
            references[one.table] = more
        tables.append(replace(known, references={**known.references, **more}))
    return Extension(BindingPlan(plan.name, tuple(tables)), tuple(new), references, tuple(fixed))


def against_what_is_bound(plan: BindingPlan, choices: Choices) -> tuple[WrongName, ...]:
    """What a person wants otherwise of tables that are bound."""
    return tuple(_against(plan, choices))


def _against(plan: BindingPlan, choices: Choices) -> Iterator[WrongName]:
    for one in plan.tables:
        name, key = one.table, choices.keys.get(one.table)
        if name in choices.exclude:
            yield WrongName("exclude", name, f"{name} is bound")
        if key is not None and key != one.key_class:
            yield WrongName("keys", f"{name}={key}", f"{name} is bound as {one.key_class}")
        match = choices.match.get(name)
        if match is not None and tuple(match) != one.identity:
            by = f"{one.key_class} ({', '.join(one.identity)})" if one.identity else str(one.key_class)
            yield WrongName("match", f"{name}={','.join(match)}", f"{name} is bound as {by}")
        what = choices.triggers.get(name)
        if what is not None and (what == "run") is not one.run_triggers:
            now = "run" if one.run_triggers else "do not run"
            yield WrongName("triggers", f"{name}={what}", f"{name} is bound, and its triggers {now}")
        for column, parent in one.references.items():
            wanted = choices.references.get(f"{name}.{column}")
            if wanted is not None and wanted != parent:
                why = f"{name} is bound, and {column} means rows of {parent}"
                yield WrongName("references", f"{name}.{column}={wanted}", why)


def news(plan: BindingPlan, schema: Schema, settings: BindingSettings, known: Choices) -> News:
    """What a person who bound all that there was would have bound, too. `known` is what other devices decided. A table
    that cannot be bound, or that was left out by choice, is no news.
    """
    if settings.include and not any(one.table in schema.tables for one in plan.tables):
        return News()
    proposal = propose(schema, plan.name, choices_for(plan, schema, settings, known))
    extension = extended(plan, proposal)
    open_ones = {one.table for one in proposal.questions}
    tables = tuple(sorted(one.table for one in extension.new))
    return News(
        tables,
        tuple(name for name in tables if name in open_ones),
        reference_words(extension.references),
    )


def reference_words(references: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """One clause for each."""
    return tuple(
        f"{table}.{column} means rows of {parent}"
        for table, columns in sorted(references.items())
        for column, parent in sorted(columns.items())
    )


def of_new_tables(proposal: Proposal, new: Sequence[TablePlan]) -> Proposal:
    """What a proposal says of these tables alone; what is left out stays in it."""
    names = {one.table for one in new}
    return replace(
        proposal,
        tables=tuple(new),
        questions=tuple(one for one in proposal.questions if one.table in names),
    )
