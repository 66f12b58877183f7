"""What the recipes rest on, without installing anything: the schema that Django makes, and what its migrations do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from tests.recipes.pairs import DJANGO_OPTIONS, Place, Two

FILE = "db.sqlite3"
SCHEMA = (Path(__file__).parent / "django.sql").read_text()
# As `manage.py sqlmigrate` prints it for a new field.
MIGRATION = """
PRAGMA foreign_keys = off;
BEGIN;
CREATE TABLE "new__diary_entry" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "mood" varchar(20) NOT NULL,
    "title" varchar(100) NOT NULL, "text" text NOT NULL,
    "author_id" integer NOT NULL REFERENCES "auth_user" ("id") DEFERRABLE INITIALLY DEFERRED);
INSERT INTO "new__diary_entry" ("id", "title", "text", "author_id", "mood")
    SELECT "id", "title", "text", "author_id", 'fine' FROM "diary_entry";
DROP TABLE "diary_entry";
ALTER TABLE "new__diary_entry" RENAME TO "diary_entry";
CREATE INDEX "diary_entry_author_id" ON "diary_entry" ("author_id");
COMMIT;
"""
SHOWN = """SELECT title, text, username FROM diary_entry JOIN auth_user ON auth_user.id = author_id ORDER BY title"""
GRANTED = """SELECT auth_group.name, codename FROM auth_group_permissions JOIN auth_group ON auth_group.id = group_id
    JOIN auth_permission ON auth_permission.id = permission_id ORDER BY 1, 2"""


USER = """INSERT INTO auth_user (password, is_superuser, username, last_name, email, is_staff, is_active, date_joined,
    first_name) VALUES ('', 0, ?, '', '', 0, 1, '2024-01-01 00:00:00', '')"""
ENTRY = "INSERT INTO diary_entry (title, text, author_id) SELECT ?, '', id FROM auth_user WHERE username = ?"
GROUP = "INSERT INTO auth_group (name) VALUES (?)"
GRANT = """INSERT INTO auth_group_permissions (group_id, permission_id) SELECT auth_group.id, auth_permission.id
    FROM auth_group, auth_permission WHERE codename = ?"""


def script(place: Place, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(place.home / FILE, isolation_level=None, timeout=20)) as connection:
        connection.executescript(sql)


def write(place: Place, sql: str, *values: str) -> None:
    with contextlib.closing(sqlite3.connect(place.home / FILE, isolation_level=None, timeout=20)) as connection:
        connection.execute(sql, values)


def made(two: Callable[[str], Two]) -> Two:
    machines = two(FILE)
    for place in machines.places:
        script(place, SCHEMA)
    write(machines.kitchen, USER, "ada")
    machines.bind(*DJANGO_OPTIONS, second=("--merge",))
    return machines


def test_what_both_machines_made_themselves_is_one(two: Callable[[str], Two]) -> None:
    """Content types and permissions, which every `migrate` makes, and a group of one name."""
    machines = made(two)
    kitchen, study = machines.places
    with machines.apart():
        write(kitchen, USER, "bob")
        write(kitchen, ENTRY, "k", "bob")
        write(study, ENTRY, "s", "ada")
        for place, codename in ((kitchen, "add_entry"), (study, "view_entry")):
            write(place, GROUP, "editors")
            write(place, GRANT, codename)
    machines.show(machines.rows(SHOWN), [("k", "", "bob"), ("s", "", "ada")])
    machines.show(machines.rows(GRANTED), [("editors", "add_entry"), ("editors", "view_entry")])
    assert machines.ask(kitchen, "SELECT count(*) FROM auth_permission") == [(4,)]


def test_a_migration_on_one_machine_and_then_on_the_other(two: Callable[[str], Two]) -> None:
    """Nothing is edited in the new column before both have it."""
    machines = made(two)
    kitchen, study = machines.places
    write(study, ENTRY, "t", "ada")
    machines.show(machines.rows(SHOWN), [("t", "", "ada")])
    script(kitchen, MIGRATION)
    script(kitchen, "UPDATE diary_entry SET text = 'after'")
    machines.show(machines.rows(SHOWN), [("t", "after", "ada")])
    script(study, MIGRATION)
    moods = machines.rows("SELECT text, mood FROM diary_entry")
    machines.show(moods, [("after", "fine")])
    for place, mood in ((kitchen, "glad"), (study, "calm")):
        write(place, "UPDATE diary_entry SET mood = ?", mood)
        machines.show(moods, [("after", mood)])
    assert kitchen.device.conflicts("home") == []
