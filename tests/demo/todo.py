"""A small to-do program, as there are many: it keeps its data in a SQLite file and knows of no other machine.

    python todo.py FILE list NAME                        a new list
    python todo.py FILE add LIST TITLE [--due DAY]       a new item on a list
    python todo.py FILE change TITLE [--title TITLE] [--due DAY] [--done]
    python todo.py FILE move TITLE LIST
    python todo.py FILE remove TITLE
    python todo.py FILE show [--numbers]                 what there is; with the numbers it gave

It needs nothing but Python. Lists and items are numbered 1, 2, 3, and an item names its list by the number.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing

SCHEMA = """
CREATE TABLE IF NOT EXISTS lists (
  id   INTEGER PRIMARY KEY,
  name TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS items (
  id    INTEGER PRIMARY KEY,
  list  INTEGER NOT NULL REFERENCES lists ON DELETE CASCADE,
  title TEXT NOT NULL,
  due   TEXT,
  done  INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1))
);
CREATE INDEX IF NOT EXISTS items_of_list ON items (list);
"""


def new_list(database: sqlite3.Connection, arguments: argparse.Namespace) -> None:
    database.execute("INSERT INTO lists (name) VALUES (?)", (arguments.name,))


def add(database: sqlite3.Connection, arguments: argparse.Namespace) -> None:
    values = (number_of(database, "lists", "name", arguments.list), arguments.title, arguments.due)
    database.execute("INSERT INTO items (list, title, due) VALUES (?, ?, ?)", values)


def change(database: sqlite3.Connection, arguments: argparse.Namespace) -> None:
    number = number_of(database, "items", "title", arguments.item)
    if arguments.due:
        database.execute("UPDATE items SET due = ? WHERE id = ?", (arguments.due, number))
    if arguments.done:
        database.execute("UPDATE items SET done = 1 WHERE id = ?", (number,))
    if arguments.title:
        database.execute("UPDATE items SET title = ? WHERE id = ?", (arguments.title, number))


def move(database: sqlite3.Connection, arguments: argparse.Namespace) -> None:
    values = (
        number_of(database, "lists", "name", arguments.list),
        number_of(database, "items", "title", arguments.item),
    )
    database.execute("UPDATE items SET list = ? WHERE id = ?", values)


def remove(database: sqlite3.Connection, arguments: argparse.Namespace) -> None:
    database.execute("DELETE FROM items WHERE id = ?", (number_of(database, "items", "title", arguments.item),))


def show(database: sqlite3.Connection, arguments: argparse.Namespace) -> None:
    rows = database.execute(
        "SELECT lists.id, lists.name, items.id, items.title, items.due, items.done "
        "FROM lists LEFT JOIN items ON items.list = lists.id ORDER BY lists.name, items.title, items.due"
    )
    shown = None
    for list_number, name, number, title, due, done in rows:
        if list_number != shown:
            print(f"{list_number} {name}" if arguments.numbers else name)
            shown = list_number
        if number is not None:
            given = f"{number} " if arguments.numbers else ""
            print(f"  {given}[{'x' if done else ' '}] {title}" + (f", due {due}" if due else ""))


def number_of(database: sqlite3.Connection, table: str, column: str, value: str) -> int:
    sql = f"SELECT id FROM {table} WHERE {column} = ?"  # noqa: S608 - the names are this program's own
    found = database.execute(sql, (value,)).fetchone()
    if found is None:
        sys.exit(f"there is no {value} among the {table}")
    return int(found[0])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[[sqlite3.Connection, argparse.Namespace], None], *words: str) -> None:
        one = commands.add_parser(name)
        one.set_defaults(run=run)
        for word in words:
            if word in {"--done", "--numbers"}:
                one.add_argument(word, action="store_true")
            else:
                one.add_argument(word)

    command("list", new_list, "name")
    command("add", add, "list", "title", "--due")
    command("change", change, "item", "--title", "--due", "--done")
    command("move", move, "item", "list")
    command("remove", remove, "item")
    command("show", show, "--numbers")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    with closing(sqlite3.connect(arguments.file)) as database, database:
        database.execute("PRAGMA foreign_keys = ON")
        database.executescript(SCHEMA)
        arguments.run(database, arguments)


if __name__ == "__main__":
    main()
