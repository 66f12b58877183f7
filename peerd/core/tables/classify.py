"""The rules by which one table is bound: what makes its key, what its columns mean, whether its triggers run.

    key of the table                                     class
    --------------------------------------------------   ---------------------------------------------------
    declared, of other columns than one INTEGER          natural
    INTEGER, and a foreign key to another INTEGER key    natural: it is a part of that row
    INTEGER, AUTOINCREMENT or referred to                surrogate
    INTEGER, and a CHECK on it                           natural: it means something
    INTEGER, none of these                               asked: a row number, or a value such as the one row 1?
    none                                                 left out, unless a person names a class

A person can say otherwise, and can name columns that make the identity (content).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from msgspec import Struct

from peerd.core.names import check_field_name
from peerd.core.tables.plans import KeyClass
from peerd.core.tables.row_keys import KNOWN_COLLATIONS, identity_collations
from peerd.core.tables.shape import Reference, Schema, Table
from peerd.errors import UserError

COLUMNS: Final = 2_000  # what SQLite has unless it was built otherwise


class Question(Struct, frozen=True):
    """What the schema does not tell: which option of the choices answers it, and the answers that there are. The one
    that is suggested can do no harm but to keep rows apart that are the same; empty: none is harmless.
    """

    table: str
    option: str
    question: str
    answers: tuple[str, ...] = ()
    suggestion: str = ""


class Decided(Struct, frozen=True):
    """How the rows of a table are told apart, with remarks for people; why they cannot be (`refusal`), or not yet."""

    key_class: KeyClass
    identity: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    refusal: str = ""


def obstacle(table: Table) -> str:
    """Why a table can never be bound, whatever a person says; empty if it can."""
    if table.obstacle is not None:
        return f"SQLite alone cannot write to it: {table.obstacle}"
    if not table.key:
        return "its columns have all the names of the rowid, so that nothing finds a row"
    if len(table.columns) > COLUMNS:
        return f"it has {len(table.columns):,} columns; at most {COLUMNS:,} are bound"
    for column in table.stored:
        try:
            check_field_name(column.name)
        except UserError as problem:
            return f"{problem}"
    return ""


# ---- keys


def decide(
    table: Table, *, given: str | None, match: tuple[str, ...], is_referenced: bool, extends: str | None
) -> Decided:
    """How the rows of a table are told apart.

    Args:
        table: one without an obstacle.
        given: the class that a person named.
        match: the columns that a person named.
        is_referenced: other rows mean rows of it by their integers.
        extends: the table of which each row is a part, by having its integer as key.
    """
    if given is None and match:
        given = "content"
    if given is None:
        return _fit(table, _by_schema(table, is_referenced=is_referenced, extends=extends))
    if given == "natural":
        natural = Decided(KeyClass.NATURAL, table.declared_key, (f"as chosen: {_same(table.declared_key)}",))
        return _fit(table, natural)
    if not (table.is_rowid_alias or table.keyed_by_rowid):
        if given == "content" and match in {(), table.key}:
            return _fit(table, Decided(KeyClass.NATURAL, table.key, (_same(table.key),)))
        return Decided(
            KeyClass.NATURAL,
            refusal=f"its key is no row number, so it cannot be {given}: {_typed(table, 'natural')}",
        )
    if given == "surrogate":
        return _fit(table, Decided(KeyClass.SURROGATE, notes=(_NUMBERED,)))
    return _fit(table, _content(table, match))


_NUMBERED = "each row is itself, whatever it holds; its number may be another one on other devices"


def _by_schema(table: Table, *, is_referenced: bool, extends: str | None) -> Decided:
    if not table.declared_key:
        why = f"it has no key: name the columns that tell its rows apart (--match {table.name}=COLUMN,...), or "
        why += f"{_typed(table, 'surrogate')}"
        return Decided(KeyClass.SURROGATE, refusal=why)
    if not table.is_rowid_alias:
        return Decided(KeyClass.NATURAL, table.declared_key, (_same(table.declared_key),))
    if extends is not None:
        return Decided(KeyClass.NATURAL, table.key, (f"each row is a part of the row of {extends} with its number",))
    if table.autoincrement or is_referenced:
        return Decided(KeyClass.SURROGATE, notes=(_NUMBERED, *_alternatives(table)))
    if _checks_key(table):
        return Decided(KeyClass.NATURAL, table.key, (f"a CHECK says what {table.key[0]} may be: {_same(table.key)}",))
    key = table.key[0]
    answers: tuple[str, ...] = ("surrogate", "natural")
    text = f"Is {key} only the number of a row (surrogate), or are rows with an equal {key} the same row (natural)?"
    found = full_uniques(table)
    if found:
        text += f" Or are rows the same that have an equal {', '.join(found[0])} (content)?"
        answers += ("content",)
    asked = Question(table.name, "keys", text, answers, suggestion="surrogate")
    return Decided(KeyClass.SURROGATE, notes=(_NUMBERED,), questions=(asked,))


def _content(table: Table, match: tuple[str, ...]) -> Decided:
    found = full_uniques(table)
    identity = match or (found[0] if len(found) == 1 else ())
    if not identity:
        text = "Rows with which equal columns are the same row?"
        asked = Question(table.name, "match", text, tuple(", ".join(columns) for columns in found))
        return Decided(KeyClass.CONTENT, questions=(asked,))
    notes = [_same(identity)]
    is_kept_unique = any(
        set(columns) == set(identity) for columns in (*full_uniques(table, nullable=True), table.declared_key)
    )
    nullable = [column.name for column in table.columns if column.name in identity and not column.not_null]
    if not is_kept_unique:
        notes.append("nothing keeps them unique: of rows that have them equal, one is captured")
    elif nullable:
        notes.append(f"of rows without {', '.join(nullable)}, one is captured")
    return Decided(KeyClass.CONTENT, identity, tuple(notes))


def _fit(table: Table, decided: Decided) -> Decided:
    """The decision, or the refusal of what cannot work."""
    stored = {column.name for column in table.stored}
    why = ""
    if decided.refusal:
        return decided
    if decided.key_class is KeyClass.NATURAL and not decided.identity:
        why = "it has no key that could be natural"
    elif missing := [column for column in decided.identity if column not in stored]:
        why = f"it has no column {missing[0]} that is stored"
    elif decided.key_class is not KeyClass.NATURAL and _checks_key(table):
        why = (
            f"a CHECK names {table.key[0]}, which differs between devices: {_typed(table, 'natural')}, or leave it out"
        )
    elif decided.identity and not KNOWN_COLLATIONS.issuperset(identity_collations(table, decided.identity)):
        why = "its key is compared by a collation that only the application has"
    if why:
        return Decided(decided.key_class, refusal=why)
    if table.keyed_by_rowid and decided.key_class is KeyClass.SURROGATE:
        notes = (*decided.notes, "it has no key: whatever numbers its rows anew (VACUUM) makes them other rows")
        return Decided(decided.key_class, (), notes, decided.questions)
    return decided


def _checks_key(table: Table) -> bool:
    return any(set(tied) & set(table.key) for tied in table.tied)


def _alternatives(table: Table) -> Iterator[str]:
    for columns in full_uniques(table):
        yield f"if rows with an equal {', '.join(columns)} should be one row: --match {table.name}={','.join(columns)}"


def _typed(table: Table, key: str) -> str:
    """The option, as a person types it; the configuration has the same words."""
    return f"--key {table.name}={key}"


def full_uniques(table: Table, *, nullable: bool = False) -> list[tuple[str, ...]]:
    """The sets of stored columns that are unique in all rows and, unless `nullable`, never NULL."""
    fit = {column.name for column in table.stored if column.not_null or nullable}
    return [
        tuple(column for column in unique.columns if column is not None)
        for unique in table.uniques
        if not unique.partial and fit.issuperset(unique.columns)
    ]


def _same(columns: Collection[str]) -> str:
    return f"rows with an equal {', '.join(columns)} are the same row"


# ---- references


def integers_meant(tables: Iterable[Table], named: Mapping[str, str]) -> set[str]:
    """The tables whose INTEGER PRIMARY KEY something refers to; `named` are references that are not declared."""
    listed = list(tables)
    keys = {table.name: table.key for table in listed if table.is_rowid_alias}
    meant = {one.parent for table in listed for one in table.references if keys.get(one.parent) == one.parent_columns}
    return meant | {parent for parent in named.values() if parent in keys}


def extended(table: Table, tables: Mapping[str, Table]) -> str | None:
    """The other table whose row each row of this one is a part of: its whole key refers to that one's integer key."""
    for one in table.references:
        parent = tables.get(one.parent)
        if (
            table.is_rowid_alias
            and one.columns == table.key
            and parent is not None
            and parent.name != table.name
            and parent.is_rowid_alias
            and one.parent_columns == parent.key
        ):
            return one.parent
    return None


def references(
    tables: Mapping[str, Table], mapped: Collection[str], named: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """For each table, the columns that hold integers of `mapped` tables, and of which: as declared, also by way of
    a table whose own column is such a reference, and as `named` ("table.column" -> table).
    """
    found: dict[str, dict[str, str]] = {name: {} for name in tables}
    for name, parent in named.items():
        owner, _, column = name.rpartition(".")
        if owner in tables and parent in mapped and column in {one.name for one in tables[owner].stored}:
            found[owner][column] = parent
    while True:
        new = [
            (name, column, parent)
            for name, table in tables.items()
            for one in table.references
            for column, parent in _meanings(one, tables, mapped, found)
            if column not in found[name] and column in {stored.name for stored in table.stored}
        ]
        if not new:
            return found
        for name, column, parent in new:
            found[name].setdefault(column, parent)


def _meanings(
    reference: Reference, tables: Mapping[str, Table], mapped: Collection[str], found: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    parent = tables.get(reference.parent)
    if parent is None:
        return
    for column, meant in zip(reference.columns, reference.parent_columns, strict=False):
        if parent.name in mapped and parent.is_rowid_alias and (meant,) == parent.key:
            yield column, parent.name
        elif meant in found[parent.name]:
            yield column, found[parent.name][meant]


# ---- triggers


def triggers(table: Table, schema: Schema, bound: AbstractSet[str], given: str | None) -> str | Question:
    """Do the application's triggers on a table run when we write? `run`, `skip`, empty if there are none, or what has
    to be asked. Those that write to bound tables do not: what they did on the device of the author comes by itself.
    Those that only write elsewhere (an index for searching) do. Those that write nothing follow the others.
    """
    if not table.triggers:
        return ""
    if given is not None:
        return given
    effects = [_effects(trigger.writes, schema) for trigger in table.triggers]
    captured = [one for one in effects if one & bound]
    unknown = [one for one in effects if None in one and one not in captured]
    outside = [one for one in effects if one and one not in captured and one not in unknown]
    if captured and not outside and not unknown:
        return "skip"
    if not captured and not unknown:
        return "run" if outside else "skip"
    text = "The application's triggers "
    text += "change bound tables and others" if captured else "write what cannot be told"
    return Question(table.name, "triggers", f"{text}. Do they run when peerd writes?", ("run", "skip"))


def _effects(writes: frozenset[str | None], schema: Schema) -> frozenset[str | None]:
    """All tables that change, by triggers on those that were written, too."""
    found: set[str | None] = set()
    waiting = set(writes)
    while waiting:
        name = waiting.pop()
        found.add(name)
        table = schema.tables.get(name) if name is not None else None
        if table is not None:
            waiting |= {target for trigger in table.triggers for target in trigger.writes} - found
    return frozenset(found)
