"""Random schemas of applications and random statements against them, for hypothesis.

`schemas()` gives a `Made`: CREATE statements that SQLite accepts, with quoted, unicode and keyword names, all kinds of
keys, collations, generated columns, STRICT, WITHOUT ROWID, foreign keys, CHECK, partial and expression indexes.
`statements(made)` gives lists of DML that often collides. All values are literals from a small pool, so that equal
keys, near-equal keys ('a', 'A', 'a '; 1, 1.0, '1') and dangling references are common.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import apsw
from hypothesis import strategies as st

from peerd.tables.triggers import quoted

NAMES = (
    "a", "b", "order", "select", "Group", "two words", 'say "hi"', "tick`s", "[x]", "semi;colon", "-- no", "ünïcode",
    "日本", "rowid", "oid", "BEGIN", "check", "new", "old", "k0", "v", "x'y", "main", "end", "_peerd",
)  # fmt: skip
LITERALS = (
    "NULL", "0", "1", "2", "3", "1.0", "2.5", "-0.0", "'1'", "'a'", "'A'", "'a '", "'b'", "''", "x'61'", "x''",
    "9007199254740993", "'1.0'", "'é'", "1e300", "CAST(x'ff' AS TEXT)",
)  # fmt: skip
_TYPES = ("", "INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC", "VARCHAR(3)", "INT", "whatever")
_STRICT_TYPES = ("INTEGER", "TEXT", "REAL", "BLOB", "ANY", "INT")
_COLLATIONS = ("", "", "", " COLLATE NOCASE", " COLLATE rtrim", " COLLATE BINARY")
_ACTIONS = ("", " ON DELETE CASCADE", " ON DELETE SET NULL", " ON UPDATE CASCADE", " DEFERRABLE INITIALLY DEFERRED")
_CONFLICTS = ("", "", "", " OR REPLACE", " OR IGNORE", " OR FAIL", " OR ABORT", " OR ROLLBACK")


@dataclass(frozen=True)
class MadeTable:
    """`columns` can be written; `key` is declared; `target` are columns that a foreign key may mean."""

    name: str
    sql: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    unique: tuple[str, ...] = ()


@dataclass(frozen=True)
class Made:
    """A schema: its tables, parents first, and all statements that make it, in order."""

    tables: tuple[MadeTable, ...]
    statements: tuple[str, ...] = field(default=())

    def make(self, connection: apsw.Connection) -> None:
        for statement in self.statements:
            connection.execute(statement)


def names(count: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(NAMES), min_size=count, max_size=count, unique_by=str.lower)


@st.composite
def schemas(draw: st.DrawFn, *, most: int = 3) -> Made:
    """1 to `most` tables, each of which may refer to those before it and to itself."""
    tables: list[MadeTable] = []
    indexes: list[str] = []
    for name in draw(names(draw(st.integers(1, most)))):
        made = draw(_table(name, tuple(tables)))
        tables.append(made)
        indexes += draw(_indexes(made, len(indexes)))
    return Made(tuple(tables), (*(table.sql for table in tables), *indexes))


@st.composite
def _table(draw: st.DrawFn, name: str, parents: tuple[MadeTable, ...]) -> MadeTable:
    kind = draw(st.sampled_from(["rowid", "auto", "text", "composite", "nullable", "none"]))
    strict = draw(st.integers(0, 3)) == 0
    without_rowid = kind in {"text", "composite"} and draw(st.booleans())
    columns = draw(names(draw(st.integers(3, 5))))
    types = [draw(st.sampled_from(_STRICT_TYPES if strict else _TYPES)) for _ in columns]
    key = {"none": [], "composite": columns[:2], "nullable": columns[:2]}.get(kind, columns[:1])
    parts = []
    for place, (column, declared) in enumerate(zip(columns, types, strict=True)):
        text = f"{quoted(column)} {declared}"
        if kind in {"rowid", "auto"} and place == 0:
            text = f"{quoted(column)} INTEGER PRIMARY KEY{' AUTOINCREMENT' if kind == 'auto' else ''}"
        else:
            text += draw(st.sampled_from(_COLLATIONS))
            text += draw(_constraint(column, is_key=column in key and kind != "nullable"))
            if place == len(columns) - 1:
                text += draw(_reference((*parents, MadeTable(name, "", tuple(columns), tuple(key)))))
        parts.append(text)
    if draw(st.booleans()):
        declared = "TEXT" if strict else ""
        how = draw(st.sampled_from(["STORED", "VIRTUAL"]))
        parts.append(f"made {declared} GENERATED ALWAYS AS (substr({quoted(columns[1])}, 1, 2)) {how}")
    unique = tuple(draw(st.sampled_from([(), (), columns[1:2], columns[1:3]])))
    if kind not in {"rowid", "auto", "none"}:
        parts.append(f"PRIMARY KEY({', '.join(draw(_key_part(column)) for column in key)})")
    if unique:
        conflict = draw(st.sampled_from(["", "", " ON CONFLICT REPLACE"]))
        parts.append(f"UNIQUE({', '.join(map(quoted, unique))}){conflict}")
    options = ", ".join(["STRICT"] * strict + ["WITHOUT ROWID"] * without_rowid)
    sql = f"CREATE TABLE {quoted(name)}({', '.join(parts)}) {options}".strip()
    return MadeTable(name, sql, tuple(columns), tuple(key), unique)


def _key_part(column: str) -> st.SearchStrategy[str]:
    return st.sampled_from(["", "", "", " COLLATE NOCASE", " DESC"]).map(lambda tail: quoted(column) + tail)


@st.composite
def _constraint(draw: st.DrawFn, column: str, *, is_key: bool) -> str:
    if is_key:
        return " NOT NULL"
    check = f" CHECK({quoted(column)} <> 3 OR {quoted(column)} IS NULL)"
    return draw(st.sampled_from(["", "", "", "", " NOT NULL DEFAULT 1", " DEFAULT 'b'", " UNIQUE", check]))


@st.composite
def _reference(draw: st.DrawFn, parents: tuple[MadeTable, ...]) -> str:
    targets = [table for table in parents if len(table.key) == 1]
    if not targets or draw(st.booleans()):
        return ""
    target = draw(st.sampled_from(targets))
    columns = draw(st.sampled_from(["", f"({quoted(target.key[0])})"]))
    return f" REFERENCES {quoted(target.name)}{columns}{draw(st.sampled_from(_ACTIONS))}"


@st.composite
def _indexes(draw: st.DrawFn, table: MadeTable, before: int) -> list[str]:
    kind = draw(st.sampled_from(["", "", "plain", "partial", "expression"]))
    column = quoted(draw(st.sampled_from(table.columns[1:])))
    name = f"index{before}"
    parts = {
        "plain": f"CREATE INDEX {name} ON {quoted(table.name)}({column})",
        "partial": f"CREATE UNIQUE INDEX {name} ON {quoted(table.name)}({column}) WHERE {column} > 1",
        "expression": f"CREATE UNIQUE INDEX {name} ON {quoted(table.name)}(lower({column}), {column} COLLATE NOCASE)",
    }
    return [parts[kind]] if kind else []


# ---- what an application does


@st.composite
def statement(draw: st.DrawFn, made: Made) -> str:
    """One INSERT, REPLACE, UPDATE, DELETE or upsert; some will fail."""
    table = draw(st.sampled_from(made.tables))
    name, literal = quoted(table.name), st.sampled_from(LITERALS)
    kind = draw(st.sampled_from(["insert", "insert", "insert", "update", "update", "delete", "upsert"]))
    conflict = draw(st.sampled_from(_CONFLICTS))
    compared = quoted(draw(st.sampled_from(table.columns)))
    where = f"{compared} {draw(st.sampled_from(['=', '>', 'IS', '<>']))} {draw(literal)}"
    shown = ", ".join(
        f"typeof({quoted(column)}), hex({quoted(column)})" for column in table.columns
    )  # apsw reads no TEXT that is not UTF-8
    back = draw(st.sampled_from(["", "", f" RETURNING {shown}"]))
    if kind == "delete":
        return f"DELETE FROM {name} WHERE {where}{back}"
    if kind == "update":
        columns = draw(st.lists(st.sampled_from(table.columns), min_size=1, max_size=2, unique=True))
        changes = ", ".join(f"{quoted(column)} = {draw(literal)}" for column in columns)
        return f"UPDATE{conflict} {name} SET {changes} WHERE {where}{back}"
    columns = list(table.columns)[draw(st.integers(0, 1)) :]
    rows = [f"({', '.join(draw(literal) for _ in columns)})" for _ in range(draw(st.integers(1, 2)))]
    head = f"INTO {name}({', '.join(map(quoted, columns))}) VALUES {', '.join(rows)}"
    if kind == "insert":
        return f"INSERT{conflict} {head}{back}"
    changed = quoted(draw(st.sampled_from(table.columns)))
    then = draw(st.sampled_from(["DO NOTHING", f"DO UPDATE SET {changed} = excluded.{quoted(columns[-1])}"]))
    return f"INSERT {head} ON CONFLICT {then}{back}"


def statements(made: Made, *, most: int = 12) -> st.SearchStrategy[list[str]]:
    """Some statements, a few of them in transactions and savepoints."""
    control = st.sampled_from(["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s"])
    one = statement(made)
    return st.lists(st.one_of(one, one, one, one, control), min_size=1, max_size=most)
