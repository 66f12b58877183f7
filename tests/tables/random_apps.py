"""Random applications for `two_copies`: two to four tables that refer to each other, and statements that collide.

Every table has a column `note`. What is written there is a token that occurs once in the world, so that one can tell
later what became of each write.
"""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import dataclass, field

from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan

ACTIONS = ("", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE CASCADE ON UPDATE CASCADE")
CLAUSES = ("", "", "OR REPLACE", "OR IGNORE")
KINDS = ("surrogate", "surrogate", "rowid", "content", "natural", "natural", "pair")
NAMES = ("'a'", "'b'", "'c'", "'d'")
KEYS = {  # how a natural key is declared -> what it may be
    "k TEXT NOT NULL PRIMARY KEY": NAMES,
    "k TEXT NOT NULL PRIMARY KEY COLLATE NOCASE": ("'a'", "'A'", "'b'", "'B'", "'c'"),
    "k NOT NULL PRIMARY KEY": ("1", "1.0", "'1'", "x'31'", "'a'"),
}
PAYLOADS = {  # how other columns are declared -> what they may be
    "x": ("NULL", "1", "1.0", "'1'", "x'00ff'", "'a' || char(0)", "CAST(x'ff' AS TEXT)", "9223372036854775807"),
    "x REAL": ("NULL", "1", "0.1", "'1'", "-0.0", "9e999"),
    "x TEXT COLLATE NOCASE DEFAULT 'd'": ("NULL", "1", "'A'", "'a'"),
    "x AS (v || note)": (),
    "x INT AS (v * 2) STORED UNIQUE": (),
}
MORE = "later TEXT DEFAULT 'l'"  # a column that an update of the application brings


@dataclass
class RandomTable:
    """`columns` has the SQL of the values that a column may take; `key` is the column that makes a row, `found_by` are
    the columns by which its file finds one, and `more` is whether there may be a column `later`.
    """

    plan: TablePlan
    sql: list[str]
    columns: dict[str, tuple[str, ...]]
    key: str
    found_by: tuple[str, ...] = ("id",)
    more: bool = False

    @property
    def parents(self) -> set[str]:
        """Tables that it refers to, or that its triggers write to."""
        text = " ".join(self.sql)
        return {word for part in ("REFERENCES ", "BEGIN UPDATE ") for word in re.findall(rf"{part}(t\d)", text)}

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Once the application is updated."""
        return (*self.columns, "later") if self.more else tuple(self.columns)


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

    def token(self, author: str) -> str:
        """What occurs once in the world."""
        return f"{author} {next(self._numbers)}"

    def statement(self, chance: random.Random, author: str) -> str:
        """INSERT, UPDATE, change of a key, or DELETE; some will fail."""
        name, table = chance.choice(list(self.tables.items()))
        # With REPLACE, SQLite does not look at foreign keys within a table: rows would dangle.
        clauses = CLAUSES if "q" not in table.columns else ("", "OR IGNORE")
        token = f"'{self.token(author)}'"
        where = f"WHERE rowid = (SELECT rowid FROM {name} ORDER BY note LIMIT 1 OFFSET {chance.randrange(4)})"
        if "WITHOUT ROWID" in table.sql[0]:
            where = f"WHERE k = {chance.choice(table.columns['k'])}"
        kind = chance.random()
        if kind < 0.45:
            values = ", ".join(token if one == "note" else chance.choice(of) for one, of in table.columns.items())
            return f"INSERT {chance.choice(clauses)} INTO {name}({', '.join(table.columns)}) VALUES({values})"
        if kind < 0.6:
            return f"DELETE FROM {name} {where}"
        if kind < 0.7 and table.key in table.columns:
            value = chance.choice(table.columns[table.key])
            return f"UPDATE {chance.choice(clauses)} {name} SET {table.key} = coalesce({value}, 9) {where}"
        if kind < 0.75 and table.more:
            return f"UPDATE {name} SET later = '{chance.choice('lmn')}' {where}"
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
    kind = chance.choice(KINDS)
    columns: dict[str, tuple[str, ...]] = {}
    parts: list[str] = []
    references: dict[str, str] = {}
    ends = _add_key(chance, kind, parts, columns)
    parts.append("note TEXT")
    columns["note"] = ()
    ends += _add_payload(chance, name, app, parts, columns, references)
    tail = " WITHOUT ROWID" if kind in {"natural", "pair"} and chance.random() < 0.4 else ""
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
    key_class = {"rowid": "surrogate", "pair": "natural"}.get(kind, kind)
    identity = {"natural": ("k",), "content": ("k",), "pair": ("k", "j")}.get(kind, ())
    found_by = {"natural": ("k",), "pair": ("k", "j"), "rowid": ("rowid",)}.get(kind, ("id",))
    plan = TablePlan(number, name, f"app.{name}", KeyClass(key_class), identity, references, run_triggers)
    key = {"surrogate": "id", "rowid": "rowid"}.get(kind, "k")
    app.tables[name] = RandomTable(plan, sql, columns, key, found_by, more=chance.random() < 0.3)


def _add_key(chance: random.Random, kind: str, parts: list[str], columns: dict[str, tuple[str, ...]]) -> list[str]:
    """Gives the constraints of the table."""
    if kind == "natural":
        declared = chance.choice(list(KEYS))
        parts.append(declared)
        columns["k"] = KEYS[declared]
    elif kind == "pair":
        parts += ["k TEXT NOT NULL COLLATE NOCASE", "j INT NOT NULL"]
        columns |= {"k": ("'a'", "'A'", "'b'"), "j": ("1", "2")}
        return ["PRIMARY KEY(k, j)"]
    elif kind != "rowid":
        parts.append(f"id INTEGER PRIMARY KEY{chance.choice(('', ' AUTOINCREMENT'))}")
        columns["id"] = ("NULL", "NULL", "1", "2", "3", "4")
    if kind == "content":
        folds = chance.random() < 0.3
        parts.append(f"k TEXT NOT NULL {'COLLATE NOCASE ' if folds else ''}UNIQUE")
        columns["k"] = (*NAMES, "'A'") if folds else NAMES
    return []


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
    if chance.random() < 0.4:
        declared = chance.choice(list(PAYLOADS))
        parts.append(declared)
        if PAYLOADS[declared]:
            columns["x"] = PAYLOADS[declared]
    parents = [parent for parent, one in app.tables.items() if len(one.found_by) == 1 and one.key != "rowid"]
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
