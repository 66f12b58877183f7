"""What a person asked for, and how the tables of a database would be bound by that.

The rules are those of `classify`; here they are applied to all tables of a schema at once. What the schema does not
tell is asked, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from peerd.core.tables import classify
from peerd.core.tables.classify import Decided, Question
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.row_keys import collection_name
from peerd.core.tables.shape import Schema, Table

_SHOWN_CHARS = 80


class Choices(Struct, frozen=True):
    """What is decided already, by a person here or by the device that bound first. Names of tables are the real ones.

    include, exclude   tables; none included: all that can be bound
    keys               table -> natural, surrogate, content
    match              table -> the columns by which rows of a `content` table are the same
    references         "table.column" -> the table whose integers that column holds
    triggers           table -> run, skip
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keys: Mapping[str, str] = {}
    match: Mapping[str, tuple[str, ...]] = {}
    references: Mapping[str, str] = {}
    triggers: Mapping[str, str] = {}


class Proposal(Struct, frozen=True):
    """Tables that can be bound, parents before children, with remarks for people on each and what becomes of its
    triggers (`run`, `skip`; absent if it has none); tables (and choices) that cannot be, and why; and what is open.
    """

    tables: tuple[TablePlan, ...]
    notes: Mapping[str, tuple[str, ...]] = {}
    triggers: Mapping[str, str] = {}
    left_out: Mapping[str, str] = {}
    questions: tuple[Question, ...] = ()

    def plan(self, binding: str) -> BindingPlan | None:
        """The plan, once nothing is open and there is a table."""
        return None if self.questions or not self.tables else BindingPlan(binding, self.tables)

    def suggested(self, choices: Choices) -> Choices:
        """The choices of somebody who made `choices` and takes what is suggested for the rest."""
        answers = {one.table: one.suggestion for one in self.questions if one.option == "keys" and one.suggestion}
        return replace(choices, keys={**choices.keys, **answers})


def propose(schema: Schema, binding: str, choices: Choices) -> Proposal:
    """How the tables of `schema` would be bound as `binding`."""
    left_out = dict.fromkeys(schema.virtual, "it is a virtual table: it keeps its content in tables of its own")
    left_out |= {name: "it is a view" for name in choices.include if name in schema.views}
    left_out |= _mistakes(schema, choices)
    chosen: dict[str, Table] = {}
    for name, table in sorted(schema.tables.items()):
        why = _unchosen(name, choices) or classify.obstacle(table)
        if why:
            left_out[name] = why
        else:
            chosen[name] = table
    numbers = {name: number for number, name in enumerate(chosen, 1)}
    while True:
        decided, references = _decide(chosen, schema, choices, left_out)
        triggers, questions = _triggers(chosen, schema, choices)
        unable = [name for name, verdict in triggers.items() if verdict == "run" and chosen[name].trigger_obstacle]
        if not unable:
            break
        for name in unable:
            left_out[name] = (
                f"its triggers need what only the application has ({chosen[name].trigger_obstacle}); "
                f"they can be left alone: --triggers {name}=skip"
            )
            del chosen[name]
    plans = {
        name: TablePlan(
            number=numbers[name],
            table=name,
            collection=collection_name(binding, name),
            key_class=decided[name].key_class,
            identity=decided[name].identity,
            references=references[name],
            run_triggers=triggers.get(name) == "run",
        )
        for name in chosen
    }
    return Proposal(
        tables=tuple(plans[name] for name in parents_first(chosen, references)),
        notes={
            name: (*decided[name].notes, *_remarks(table, references[name], plans)) for name, table in chosen.items()
        },
        triggers={name: triggers[name] for name in chosen if name in triggers},
        left_out=dict(sorted(left_out.items())),
        questions=tuple(
            sorted(
                [*(one for name in chosen for one in decided[name].questions), *questions],
                key=lambda question: (question.table, question.option),
            )
        ),
    )


def parents_first(tables: Mapping[str, Table], references: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The names of the tables, each after those it refers to. Of those in a circle the first by name comes first."""
    needs = {
        name: ({one.parent for one in table.references} | set(references[name].values())) & tables.keys() - {name}
        for name, table in tables.items()
    }
    ordered: list[str] = []
    waiting = sorted(tables)
    while waiting:
        ready = [name for name in waiting if needs[name] <= set(ordered)] or waiting[:1]
        ordered += ready
        waiting = [name for name in waiting if name not in ready]
    return ordered


def _unchosen(name: str, choices: Choices) -> str:
    if name in choices.exclude or (choices.include and name not in choices.include):
        return "it was left out by choice"
    return ""


def _mistakes(schema: Schema, choices: Choices) -> Iterator[tuple[str, str]]:
    """Choices that name what there is not."""
    known = schema.tables.keys() | schema.virtual | schema.views
    named = (choices.include, choices.exclude, choices.keys, choices.match, choices.triggers)
    for name in {name for option in named for name in option} - known:
        yield name, "there is no such table"
    for name, parent in choices.references.items():
        table, _, column = name.rpartition(".")
        owner, target = schema.tables.get(table), schema.tables.get(parent)
        if owner is None or column not in {one.name for one in owner.stored}:
            yield name, "there is no such column that is stored"
        elif target is None or not target.is_rowid_alias:
            yield name, f"{parent} is no table with an INTEGER PRIMARY KEY"
    for name, columns in choices.match.items():
        owner = schema.tables.get(name)
        stored = {one.name for one in owner.stored} if owner is not None else set(columns)
        for column in columns:
            if column not in stored:
                yield f"{name}.{column}", "there is no such column that is stored"


def _decide(
    chosen: dict[str, Table], schema: Schema, choices: Choices, left_out: dict[str, str]
) -> tuple[dict[str, Decided], dict[str, dict[str, str]]]:
    """Keys and references of all tables; those that cannot be bound are moved from `chosen` to `left_out`. That can
    change what others refer to, so it is done again until nothing moves.
    """
    while True:
        means = classify.integers_meant(schema.tables.values(), choices.references)
        decided = {
            name: classify.decide(
                table,
                given=choices.keys.get(name),
                match=tuple(choices.match.get(name, ())),
                is_referenced=name in means,
                extends=classify.extended(table, chosen),
            )
            for name, table in chosen.items()
        }
        refused = {name: one.refusal for name, one in decided.items() if one.refusal}
        if not refused:
            mapped = {name for name, one in decided.items() if one.key_class is not KeyClass.NATURAL}
            return decided, classify.references(chosen, mapped, choices.references)
        left_out |= refused
        for name in refused:
            del chosen[name]


def _triggers(chosen: Mapping[str, Table], schema: Schema, choices: Choices) -> tuple[dict[str, str], list[Question]]:
    verdicts: dict[str, str] = {}
    questions: list[Question] = []
    for name, table in chosen.items():
        verdict = classify.triggers(table, schema, chosen.keys(), choices.triggers.get(name))
        if isinstance(verdict, Question):
            questions.append(verdict)
        elif verdict:
            verdicts[name] = verdict
    return verdicts, questions


def _remarks(table: Table, references: Mapping[str, str], plans: Mapping[str, TablePlan]) -> Iterator[str]:
    if references:
        meant = ", ".join(f"{column} a row of {parent}" for column, parent in references.items())
        yield f"{meant.replace(' a row', ' means a row', 1)}, by whatever number it has on each device"
    for reference in table.references:
        if reference.parent not in plans:
            yield f"{', '.join(reference.columns)} refers to {reference.parent}, which is not bound"
    parking = [*_uniques(table), *(f"CHECK({_short(text)})" for text in table.checks)]
    if parents := sorted({one.parent for one in table.references} & plans.keys()):
        parking.append(f"their rows in {', '.join(parents)}")
    if parking:
        yield f"rows may have to wait on other devices for {', '.join(parking)}"


def _uniques(table: Table) -> Iterator[str]:
    for unique in table.uniques:
        columns = ", ".join("an expression" if column is None else column for column in unique.columns)
        yield f"UNIQUE({columns})"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else line[:_SHOWN_CHARS] + "..."
