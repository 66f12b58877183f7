"""Random applications for `two_copies`: two to four tables that refer to each other, and statements that collide.

Every table has a column `note`. What is written there is a token that occurs once in the world, so that one can tell
later what became of each write.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan

ACTIONS = ("", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE CASCADE ON UPDATE CASCADE")
CLAUSES = ("", "", "OR REPLACE", "OR IGNORE")


@dataclass
class RandomTable:
    """`columns` has the SQL of the values that a column may take; `key` are the columns that make a row."""

    plan: TablePlan
    sql: list[str]
    columns: dict[str, tuple[str, ...]]
    key: str


@dataclass
class RandomApp:
    tables: dict[str, RandomTable] = field(default_factory=dict)
    indexed: dict[str, str] = field(default_factory=dict)  # table -> its index, which triggers keep
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def statements(self) -> list[str]:
        return [sql for table in self.tables.values() for sql in table.sql]

    @property
    def plan(self) -> BindingPlan:
        return BindingPlan("app", tuple(table.plan for table in self.tables.values()))

    def statement(self, chance: random.Random, author: str) -> str:
        """INSERT, UPDATE, change of a key, or DELETE; some will fail."""
        name, table = chance.choice(list(self.tables.items()))
        # With REPLACE, SQLite does not look at foreign keys within a table: rows would dangle.
        clauses = CLAUSES if "q" not in table.columns else ("", "OR IGNORE")
        token = f"'{author} {next(self._numbers)}'"
        where = f"WHERE rowid = (SELECT rowid FROM {name} ORDER BY note LIMIT 1 OFFSET {chance.randrange(4)})"
        if "WITHOUT ROWID" in table.sql[0]:
            where = f"WHERE k = {chance.choice(table.columns['k'])}"
        kind = chance.random()
        if kind < 0.45:
            values = ", ".join(token if one == "note" else chance.choice(of) for one, of in table.columns.items())
            return f"INSERT {chance.choice(clauses)} INTO {name}({', '.join(table.columns)}) VALUES({values})"
        if kind < 0.6:
            return f"DELETE FROM {name} {where}"
        if kind < 0.7:
            value = chance.choice(table.columns[table.key])
            return f"UPDATE {chance.choice(clauses)} {name} SET {table.key} = coalesce({value}, 9) {where}"
        column = chance.choice([one for one in table.columns if one != table.key])
        value = token if column == "note" else chance.choice(table.columns[column])
        return f"UPDATE {chance.choice(clauses)} {name} SET {column} = {value} {where}"


def random_app(chance: random.Random) -> RandomApp:
    app = RandomApp()
    for number in range(chance.randint(2, 4)):
        _add_table(app, chance, number)
    return app


def _add_table(app: RandomApp, chance: random.Random, number: int) -> None:
    name = f"t{number}"
    kind = chance.choice(("surrogate", "surrogate", "content", "natural"))
    columns: dict[str, tuple[str, ...]] = {}
    parts: list[str] = []
    references: dict[str, str] = {}
    if kind == "natural":
        parts.append("k TEXT NOT NULL PRIMARY KEY")
        columns["k"] = ("'a'", "'b'", "'c'", "'d'")
    else:
        parts.append(f"id INTEGER PRIMARY KEY{chance.choice(('', ' AUTOINCREMENT'))}")
        columns["id"] = ("NULL", "NULL", "1", "2", "3", "4")
    if kind == "content":
        parts.append("k TEXT NOT NULL UNIQUE")
        columns["k"] = ("'a'", "'b'", "'c'", "'d'")
    parts.append("note TEXT")
    columns["note"] = ()
    ends = _add_payload(chance, name, app, parts, columns, references)
    tail = " WITHOUT ROWID" if kind == "natural" and chance.random() < 0.4 else ""
    sql = [f"CREATE TABLE {name}({', '.join(parts + ends)}){tail}"]
    run_triggers = chance.random() < 0.3 and not tail
    if run_triggers:
        app.indexed[name] = f"ix{number}"
        sql += _index_triggers(name, f"ix{number}")
    elif app.tables and chance.random() < 0.3:
        other = chance.choice(list(app.tables))
        sql.append(
            f"CREATE TRIGGER count{number} AFTER INSERT ON {name} BEGIN UPDATE {other} SET v = v + 1 WHERE v < 9; END"
        )
    identity = ("k",) if kind != "surrogate" else ()
    plan = TablePlan(number, name, f"app.{name}", KeyClass(kind), identity, references, run_triggers)
    key = "id" if kind == "surrogate" else "k"
    app.tables[name] = RandomTable(plan, sql, columns, key)


def _add_payload(
    chance: random.Random,
    name: str,
    app: RandomApp,
    parts: list[str],
    columns: dict[str, tuple[str, ...]],
    references: dict[str, str],
) -> list[str]:
    """Columns besides key and note; gives the constraints of the table."""
    parts.append("v INT DEFAULT 0")
    columns["v"] = ("NULL", "1", "2", "3")
    ends = []
    if chance.random() < 0.5:
        parts.append(f"u INT UNIQUE {chance.choice(('', '', 'ON CONFLICT REPLACE'))}")
        columns["u"] = ("NULL", "1", "2", "3")
    if chance.random() < 0.3:
        parts.append("w INT")
        columns["w"] = ("NULL", "1", "2", "7")
        ends.append("CHECK (v IS NULL OR w IS NULL OR v + w < 10)")
    parents = list(app.tables)
    if parents and chance.random() < 0.7:
        parent = app.tables[chance.choice(parents)]
        to = "id" if parent.plan.maps_integers else "k"
        must = chance.choice(("", "", "NOT NULL"))
        parts.append(f"p {must} REFERENCES {parent.plan.table}({to}) {chance.choice(ACTIONS)}")
        columns["p"] = tuple(value for value in parent.columns[to] if value != "NULL")
        columns["p"] += () if must else ("NULL",)
        columns["p"] += tuple(f"(SELECT {to} FROM {parent.plan.table} LIMIT 1 OFFSET {place})" for place in range(3))
        if parent.plan.maps_integers:
            references["p"] = parent.plan.table
    if "id" in columns and chance.random() < 0.25:
        parts.append(f"q INT REFERENCES {name}(id) {chance.choice(ACTIONS)}")
        columns["q"] = ("NULL", "1", "2", "3")
        references["q"] = name
        # As with the clauses of statements; `test_unnoticed` shows that SQLite forgets it without us, too.
        parts[:] = [part.replace("ON CONFLICT REPLACE", "") for part in parts]
    return ends


def _index_triggers(name: str, index: str) -> list[str]:
    """As an application keeps a search index."""
    add = f"INSERT OR REPLACE INTO {index} VALUES (NEW.rowid, NEW.note)"
    drop = f"DELETE FROM {index} WHERE row = OLD.rowid"
    return [
        f"CREATE TABLE {index}(row PRIMARY KEY, note)",
        f"CREATE TRIGGER {index}i AFTER INSERT ON {name} BEGIN {add}; END",
        f"CREATE TRIGGER {index}d AFTER DELETE ON {name} BEGIN {drop}; END",
        f"CREATE TRIGGER {index}u AFTER UPDATE ON {name} BEGIN {drop}; {add}; END",
    ]
