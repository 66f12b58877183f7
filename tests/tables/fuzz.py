"""Random SQL over random schemas: after every few statements a harvest; then the shadow must equal the table, and the
records that the edits made must equal it too.

    python -m tests.tables.fuzz --runs 10000            exit 1 on any difference
    python -m tests.tables.fuzz --seed 42 --runs 1      one sequence again
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections.abc import Iterator
from typing import NamedTuple

import apsw

from peerd.core.tables.plans import TablePlan
from peerd.tables.harvest import HarvestLimits
from tests.tables.harvests import Bound, content, natural, surrogate

STATEMENTS = 100
CLAUSES = ("", "", "OR REPLACE", "OR IGNORE", "OR FAIL", "OR ABORT", "OR ROLLBACK")
ON_CONFLICT = ("", "", "", "ON CONFLICT REPLACE", "ON CONFLICT IGNORE")
ACTIONS = ("", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE CASCADE ON UPDATE CASCADE", "ON UPDATE SET NULL")
TYPES = ("", "INT", "TEXT", "REAL", "BLOB", "TEXT COLLATE NOCASE", "NUMERIC")
VALUES = (None, 1, 2, 3, 1.0, 2.5, "a", "A", "b", "b ", b"a", "1", -0.0, 0, 0.0, "x\0y", b"", "", 1e999, (1 << 63) - 1)
BAD_TEXT = "CAST(x'61ff' AS TEXT)"


class Shape(NamedTuple):
    """A table of the application: what creates it, how it is bound, and its columns with values that fit them."""

    name: str
    sql: str
    plan: TablePlan
    columns: dict[str, tuple[object, ...]]
    uniques: tuple[str, ...] = ()


def random_shapes(chance: random.Random) -> list[Shape]:
    """Two to four tables, some of which refer to others."""
    shapes: list[Shape] = []
    for number in range(chance.randint(2, 4)):
        parents = [one for one in shapes if one.plan.maps_integers and "id" in one.columns]
        kinds = [_integer, _integer, _text, _pair, _bare, _tag]
        shapes.append(chance.choice(kinds)(chance, f"t{number}", number, parents))
    return shapes


def _payload(
    chance: random.Random, name: str, parents: list[Shape], *, refers_to_itself: bool = False
) -> tuple[str, dict[str, tuple[object, ...]], dict[str, str], list[str]]:
    """Columns besides the key: their SQL, their values, which refer where, and which are unique."""
    parts: list[str] = []
    columns: dict[str, tuple[object, ...]] = {}
    references: dict[str, str] = {}
    uniques: list[str] = []
    for letter in "vwx"[: chance.randint(1, 3)]:
        unique = chance.random() < 0.3
        parts.append(f"{letter} {chance.choice(TYPES)}" + (f" UNIQUE {chance.choice(ON_CONFLICT)}" if unique else ""))
        columns[letter] = VALUES
        uniques += [letter] if unique else []
    if parents and chance.random() < 0.7:
        parent = chance.choice(parents).name
        parts.append(f"p INT REFERENCES {parent}(id) {chance.choice(ACTIONS)}")
        columns["p"] = (None, 1, 2, 3, 4, 5, 6)
        references["p"] = parent
    if refers_to_itself and chance.random() < 0.3:
        parts.append(f"q INT REFERENCES {name}(id) {chance.choice(ACTIONS)}")
        columns["q"] = (None, 1, 2, 3, 4)
        references["q"] = name
    return ", ".join(parts), columns, references, uniques


def _integer(chance: random.Random, name: str, number: int, parents: list[Shape]) -> Shape:
    body, columns, references, uniques = _payload(chance, name, parents, refers_to_itself=True)
    more = chance.choice(("", "", " AUTOINCREMENT"))
    sql = f"CREATE TABLE {name}(id INTEGER PRIMARY KEY{more}, {body})"
    plan = surrogate(number, name, **references)
    return Shape(name, sql, plan, {"id": (None, None, 1, 2, 3, 4, 5, 6), **columns}, ("id", *uniques))


def _text(chance: random.Random, name: str, number: int, parents: list[Shape]) -> Shape:
    body, columns, references, uniques = _payload(chance, name, parents)
    collation = chance.choice(("", "", " COLLATE NOCASE", " COLLATE RTRIM"))
    sql = f"CREATE TABLE {name}(k TEXT NOT NULL{collation} PRIMARY KEY {chance.choice(ON_CONFLICT)}, {body})"
    plan = natural(number, name, "k", **references)
    return Shape(name, sql, plan, {"k": ("a", "A", "b", "b ", "c", "d"), **columns}, ("k", *uniques))


def _pair(chance: random.Random, name: str, number: int, parents: list[Shape]) -> Shape:
    body, columns, references, uniques = _payload(chance, name, [])
    keys: dict[str, tuple[object, ...]] = {"a": (1, 2, 3), "b": ("x", "X", 1, 2.0)}
    declared = "a INT NOT NULL, b NOT NULL"
    if parents:
        parent = chance.choice(parents).name
        references["a"] = parent
        declared = f"a INT NOT NULL REFERENCES {parent}(id) {chance.choice(ACTIONS)}, b NOT NULL"
    tail = chance.choice(("", " WITHOUT ROWID"))
    sql = f"CREATE TABLE {name}({declared}, {body}, PRIMARY KEY(a, b)){tail}"
    return Shape(name, sql, natural(number, name, "a", "b", **references), {**keys, **columns}, tuple(uniques))


def _bare(chance: random.Random, name: str, number: int, parents: list[Shape]) -> Shape:
    body, columns, references, uniques = _payload(chance, name, parents)
    return Shape(name, f"CREATE TABLE {name}({body})", surrogate(number, name, **references), columns, tuple(uniques))


def _tag(chance: random.Random, name: str, number: int, parents: list[Shape]) -> Shape:
    body, columns, references, uniques = _payload(chance, name, parents, refers_to_itself=True)
    collation = chance.choice(("", "", " COLLATE NOCASE"))
    identity = ["n"] + (["p"] if "p" in references and chance.random() < 0.5 else [])
    key = f"id INTEGER PRIMARY KEY, n TEXT NOT NULL{collation}"
    sql = f"CREATE TABLE {name}({key}, {body}, UNIQUE({', '.join(identity)}))"
    if identity == ["n", "p"]:
        sql = sql.replace("p INT", "p INT NOT NULL")
    plan = content(number, name, *identity, **references)
    keys: dict[str, tuple[object, ...]] = {"id": (None, 1, 2, 3, 4, 5), "n": ("a", "A", "b", "c", "d")}
    return Shape(name, sql, plan, {**keys, **columns}, ("id", *uniques))


def application_trigger(chance: random.Random, shapes: list[Shape]) -> str | None:
    """Something that the application does about its own writes."""
    if chance.random() < 0.6:
        return None
    on, to = chance.choice(shapes), chance.choice(shapes)
    event = chance.choice(("INSERT", "UPDATE", "DELETE"))
    column = chance.choice(sorted(to.columns))
    if chance.random() < 0.5:
        body = f"DELETE FROM {to.name} WHERE {column} = 1"
    else:
        body = f"UPDATE OR IGNORE {to.name} SET v = 'b' WHERE {column} = 2"
    return f"CREATE TRIGGER app AFTER {event} ON {on.name} BEGIN {body}; END"


class Application:
    def __init__(self, connection: apsw.Connection, chance: random.Random, shapes: list[Shape]) -> None:
        self._connection, self._chance, self._shapes = connection, chance, shapes

    def transaction(self) -> int:
        """One statement, or several with savepoints that are released or rolled back. Returns how many."""
        chance, run = self._chance, self._connection.execute
        if chance.random() < 0.6:
            self._statement()
            return 1
        run("BEGIN")
        count = chance.randint(1, 5)
        for done in range(count):
            run("SAVEPOINT inner_one")
            self._statement()
            if not self._connection.in_transaction:
                return done + 1  # OR ROLLBACK ended everything
            if chance.random() < 0.3:
                run("ROLLBACK TO inner_one")
            run("RELEASE inner_one")
        try:
            run(chance.choice(("COMMIT", "COMMIT", "ROLLBACK")))
        except apsw.ConstraintError:
            run("ROLLBACK")
        return count

    def _statement(self) -> None:
        chance = self._chance
        shape = chance.choice(self._shapes)
        sql, values = chance.choice(
            (
                self._insert,
                self._insert,
                self._insert,
                self._update,
                self._update,
                self._upsert,
                self._delete,
                self._move,
            )
        )(shape)
        try:
            self._connection.execute(sql, values)
        except apsw.Error as refusal:
            if not isinstance(refusal, apsw.ConstraintError | apsw.MismatchError | apsw.SQLError):
                raise

    def _value(self, shape: Shape, column: str) -> object:
        return self._chance.choice(shape.columns[column])

    def _place(self, column: str) -> str:
        return BAD_TEXT if column in "vwx" and self._chance.random() < 0.05 else "?"

    def _insert(self, shape: Shape) -> tuple[str, list[object]]:
        names = list(shape.columns)
        rows = self._chance.choice((1, 1, 1, 2, 3))
        places, values = [], []
        for _ in range(rows):
            row = [self._place(name) for name in names]
            values += [self._value(shape, name) for name, place in zip(names, row, strict=True) if place == "?"]
            places.append(f"({', '.join(row)})")
        clause = self._chance.choice(CLAUSES)
        return f"INSERT {clause} INTO {shape.name}({', '.join(names)}) VALUES {', '.join(places)}", values

    def _where(self, shape: Shape) -> tuple[str, object]:
        column = self._chance.choice(list(shape.columns))
        return f"{column} {self._chance.choice(('=', 'IS', '<=', '>'))} ?", self._value(shape, column)

    def _update(self, shape: Shape) -> tuple[str, list[object]]:
        names = self._chance.sample(list(shape.columns), min(len(shape.columns), self._chance.randint(1, 2)))
        where, value = self._where(shape)
        settings = ", ".join(f"{name} = ?" for name in names)
        values = [self._value(shape, name) for name in names]
        return f"UPDATE {self._chance.choice(CLAUSES)} {shape.name} SET {settings} WHERE {where}", [*values, value]

    def _upsert(self, shape: Shape) -> tuple[str, list[object]]:
        sql, values = self._insert(shape)
        column = self._chance.choice([name for name in shape.columns if name != "id"] or ["v"])
        target = f"({self._chance.choice(shape.uniques)})" if shape.uniques and self._chance.random() < 0.7 else ""
        what = f"UPDATE SET {column} = excluded.{column}"
        return f"INSERT{sql[sql.index(' INTO') :]} ON CONFLICT{target} DO {what if target else 'NOTHING'}", values

    def _delete(self, shape: Shape) -> tuple[str, list[object]]:
        if self._chance.random() < 0.1:
            return f"DELETE FROM {shape.name}", []
        where, value = self._where(shape)
        return f"DELETE FROM {shape.name} WHERE {where}", [value]

    def _move(self, shape: Shape) -> tuple[str, list[object]]:
        """The key of a row, or what names it, changes."""
        column = next(iter(shape.columns))
        values: list[object] = [self._value(shape, column), self._value(shape, column)]
        return f"UPDATE {self._chance.choice(CLAUSES)} {shape.name} SET {column} = ? WHERE {column} = ?", values


def sequence(seed: int, statements: int = STATEMENTS) -> Bound:
    """One sequence; raises AssertionError where it differs."""
    chance = random.Random(seed)
    connection = apsw.Connection(":memory:", statementcachesize=1_000)
    connection.execute(f"PRAGMA foreign_keys = {chance.randint(0, 1)}")
    shapes = random_shapes(chance)
    for shape in shapes:
        connection.execute(shape.sql)
    if trigger := application_trigger(chance, shapes):
        connection.execute(trigger)
    few = chance.random() < 0.3
    limits = HarvestLimits(rows=chance.randint(1, 4) if few else 10_000, max_deletes=10_000)
    bound = Bound(connection, *(shape.plan for shape in shapes), limits=limits)
    connection.execute(f"PRAGMA recursive_triggers = {chance.randint(0, 1)}")
    application = Application(connection, chance, shapes)
    done, every = 0, chance.choice((3, 5, 10))
    since = 0
    while done < statements:
        count = application.transaction()
        done += count
        since += count
        if since >= every or done >= statements:
            bound.drain()
            bound.check()
            since = 0
    connection.close()
    return bound


def failures(seeds: Iterator[int] | range) -> Iterator[tuple[int, str]]:
    """The seeds of sequences that went wrong, and how."""
    for seed in seeds:
        try:
            sequence(seed)
        except Exception:  # noqa: BLE001 - whatever it is, its seed is told
            yield seed, traceback.format_exc()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong = 0
    for seed, how in failures(range(options.seed, options.seed + options.runs)):
        wrong += 1
        if wrong <= 3:
            print(f"seed {seed}:\n{how}")
    print(f"{wrong} of {options.runs} sequences wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
