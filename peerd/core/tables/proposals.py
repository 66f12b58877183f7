"""What a person asked for, and how tables would be bound by that.

    key of the table                  class       asked if
    -------------------------------   ---------   -------------------------------------------------------------------
    declared, not an own number       natural
    INTEGER PRIMARY KEY, or none      surrogate   something else is unique too: it may be what tells rows apart
    as a person says                  content     its columns are not named

A column with a declared foreign key to the integer of a surrogate or content table is a reference. Triggers of the
application run if all that they write is outside of the bound tables (an index for searching), else they do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from peerd.core.tables.plans import KeyClass, TablePlan
from peerd.core.tables.row_keys import KNOWN_COLLATIONS, collection_name, identity_collations
from peerd.core.tables.shape import Schema, Table


class Choices(Struct, frozen=True):
    """What is decided already, by a person here or by the device that bound first; see `protocol.control_tables`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keys: Mapping[str, str] = {}
    match: Mapping[str, tuple[str, ...]] = {}
    references: Mapping[str, str] = {}
    triggers: Mapping[str, str] = {}


class Question(Struct, frozen=True):
    """What the schema does not tell: which option of the choices answers it, and the answers that there are."""

    table: str
    option: str
    question: str
    answers: tuple[str, ...] = ()


class Proposal(Struct, frozen=True):
    """Tables that can be bound, parents before children, with remarks for people on each and what becomes of its
    triggers (`run`, `skip`; absent if it has none); tables that cannot, and why; and what is open.
    """

    tables: tuple[TablePlan, ...]
    notes: Mapping[str, tuple[str, ...]] = {}
    triggers: Mapping[str, str] = {}
    left_out: Mapping[str, str] = {}
    questions: tuple[Question, ...] = ()


def propose(schema: Schema, binding: str, choices: Choices) -> Proposal:
    """How the tables of `schema` would be bound as `binding`."""
    left_out = dict.fromkeys(sorted(schema.virtual), "it is a virtual table")
    questions: list[Question] = []
    chosen: dict[str, Table] = {}
    for table in sorted(schema.tables.values(), key=lambda one: one.name):
        obstacle = _obstacle(table, choices)
        if obstacle:
            left_out[table.name] = obstacle
        else:
            chosen[table.name] = table
    left_out |= {table: "there is no such table" for table in choices.include if table not in schema.tables}
    plans: dict[str, TablePlan] = {}
    for number, table in enumerate(chosen.values(), 1):
        key_class, identity, asked = _key(table, choices)
        questions += asked
        plans[table.name] = TablePlan(number, table.name, collection_name(binding, table.name), key_class, identity)
    for table in chosen.values():
        plans[table.name] = replace(plans[table.name], references=_references(table, plans, choices))
    for table in chosen.values():
        if why := _unfit(table, plans[table.name]):
            left_out[table.name] = why
            del plans[table.name]
    run: dict[str, str] = {}
    for one in plans:
        questions += _triggers(chosen[one], plans, choices, run)
    ordered = tuple(replace(plans[name], run_triggers=run.get(name) == "run") for name in _parents_first(plans))
    notes = {plan.table: tuple(_notes(chosen[plan.table], plan, plans)) for plan in ordered}
    return Proposal(ordered, notes, run, left_out, tuple(questions))


def _obstacle(table: Table, choices: Choices) -> str:
    if table.name in choices.exclude or (choices.include and table.name not in choices.include):
        return "it was left out by choice"
    if table.obstacle is not None:
        return f"SQLite alone cannot write to it: {table.obstacle}"
    if not table.key:
        return "its rows have nothing by which one can be found"
    return ""


def _key(table: Table, choices: Choices) -> tuple[KeyClass, tuple[str, ...], list[Question]]:
    numbered = table.is_rowid_alias or table.keyed_by_rowid
    given = choices.keys.get(table.name) or ("content" if table.name in choices.match else None)
    key_class = KeyClass(given) if given else KeyClass.SURROGATE if numbered else KeyClass.NATURAL
    asked: list[Question] = []
    if key_class is KeyClass.SURROGATE:
        others = [one for one in table.uniques if not one.partial and None not in one.columns]
        if given is None and others:
            columns = ", ".join(str(column) for column in others[0].columns)
            text = f"Is a row known by its own number (surrogate), or is a row with equal {columns} the same (content)?"
            asked.append(Question(table.name, "keys", text, ("surrogate", "content")))
        return key_class, (), asked
    if key_class is KeyClass.NATURAL:
        return key_class, table.key, asked
    identity = choices.match.get(table.name, ())
    if (
        not identity
        and len(found := [one for one in table.uniques if not one.partial and None not in one.columns]) == 1
    ):
        identity = tuple(str(column) for column in found[0].columns)
    if not identity:
        asked.append(Question(table.name, "match", "Rows with which equal columns are the same?"))
    return key_class, identity, asked


def _references(table: Table, plans: Mapping[str, TablePlan], choices: Choices) -> dict[str, str]:
    found = {
        reference.columns[0]: reference.parent
        for reference in table.references
        if len(reference.columns) == 1 and reference.parent in plans and plans[reference.parent].maps_integers
    }
    columns = {column.name for column in table.stored}
    for name, parent in choices.references.items():
        owner, _, column = name.rpartition(".")
        if owner == table.name and column in columns and parent in plans and plans[parent].maps_integers:
            found[column] = parent
    return found


def _unfit(table: Table, plan: TablePlan) -> str:
    """Why a table cannot be bound as planned."""
    columns = {column.name for column in table.stored} | set(table.key)
    if missing := [column for column in plan.identity if column not in columns]:
        return f"it has no column {missing[0]} that is stored"
    if plan.maps_integers and not (table.is_rowid_alias or table.keyed_by_rowid) and plan.identity != table.key:
        return "its key is no number of its own: bind it as natural"
    if plan.maps_integers and any(set(tied) & set(table.key) for tied in table.tied):
        return "a CHECK names its integer key, which differs between devices"
    if plan.identity and not KNOWN_COLLATIONS.issuperset(identity_collations(table, plan.identity)):
        return "its key is compared by a collation that only the application has"
    return ""


def _triggers(
    table: Table, plans: Mapping[str, TablePlan], choices: Choices, run: dict[str, str]
) -> Iterator[Question]:
    if not table.triggers:
        return
    written = {target for trigger in table.triggers for target in trigger.writes}
    if table.name in choices.triggers:
        run[table.name] = choices.triggers[table.name]
    elif table.trigger_obstacle is not None or written & plans.keys():
        run[table.name] = "skip"
    elif None in written:
        text = "It cannot be told what the application's triggers write. Do they run when peerd writes?"
        yield Question(table.name, "triggers", text, ("run", "skip"))
    else:
        run[table.name] = "run"


def _parents_first(plans: Mapping[str, TablePlan]) -> list[str]:
    """By what they refer to; in a circle, by name."""
    ordered: list[str] = []
    waiting = sorted(plans)
    while waiting:
        ready = [one for one in waiting if set(plans[one].references.values()) - {one} <= set(ordered)] or waiting[:1]
        ordered += ready
        waiting = [one for one in waiting if one not in ready]
    return ordered


def _notes(table: Table, plan: TablePlan, plans: Mapping[str, TablePlan]) -> Iterator[str]:
    if plan.maps_integers:
        yield "its numbers are this device's own; the same row may have another one elsewhere"
    for reference in table.references:
        if reference.parent not in plans:
            yield f"{', '.join(reference.columns)} refers to {reference.parent}, which is not bound"
