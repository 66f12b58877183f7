"""Names that a person gave for a binding and that the database does not have: all of them at once, each with what was
perhaps meant.

Only what a person asked for is looked at. What other devices decided may name tables that this file does not have yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Final

from msgspec import Struct

from peerd.core.tables.proposals import Choices
from peerd.core.tables.shape import Schema, Table, folded

NAMES_LISTED: Final = 20

# The member of a request and of the configuration -> the option of `peerctl tables bind`.
FLAGS: Final = {
    "include": "--include",
    "exclude": "--exclude",
    "keys": "--key",
    "match": "--match",
    "references": "--reference",
    "triggers": "--triggers",
}


class WrongName(Struct, frozen=True):
    """`option` is the member of `Choices`, `value` what stands there, `why` a clause for people."""

    option: str
    value: str
    why: str

    def told(self, *, declared: bool) -> str:
        """For a person at the command line, or (`declared`) one who wrote the configuration."""
        return f"{self.option if declared else FLAGS[self.option]} {self.value}: {self.why}"


def wrong_names(schema: Schema, choices: Choices) -> tuple[WrongName, ...]:
    """What `choices` name and `schema` lacks, in the order of the options."""
    return (*_of_tables(schema, choices), *_of_columns(schema, choices))


def _of_tables(schema: Schema, choices: Choices) -> Iterator[WrongName]:
    known = schema.tables.keys() | schema.virtual | schema.views
    values = {
        "include": {name: name for name in choices.include},
        "exclude": {name: name for name in choices.exclude},
        "keys": {name: f"{name}={key}" for name, key in choices.keys.items()},
        "match": {name: f"{name}={','.join(columns)}" for name, columns in choices.match.items()},
        "triggers": {name: f"{name}={what}" for name, what in choices.triggers.items()},
    }
    for option, named in values.items():
        for name, value in named.items():
            if name not in known:
                yield WrongName(option, value, f"there is no table {name}; {_offered(name, known, 'tables')}")


def _of_columns(schema: Schema, choices: Choices) -> Iterator[WrongName]:
    for name, columns in choices.match.items():
        if (table := schema.tables.get(name)) is not None:
            for column in columns:
                if why := _no_column(table, column):
                    yield WrongName("match", f"{name}={','.join(columns)}", why)
    for place, parent in choices.references.items():
        value = f"{place}={parent}"
        name, _, column = place.rpartition(".")
        table, target = schema.tables.get(name), schema.tables.get(parent)
        if not name:
            yield WrongName("references", value, f"{place} is not TABLE.COLUMN")
        elif table is None:
            yield WrongName("references", value, f"there is no table {name}; {_offered(name, schema.tables, 'tables')}")
        elif why := _no_column(table, column):
            yield WrongName("references", value, why)
        if target is None:
            why = f"there is no table {parent}; {_offered(parent, schema.tables, 'tables')}"
            yield WrongName("references", value, why)
        elif not target.is_rowid_alias:
            why = f"{parent} has no INTEGER PRIMARY KEY, so that nothing has to be translated"
            yield WrongName("references", value, why)


def _no_column(table: Table, column: str) -> str:
    """Why a column of a table cannot be named; empty if it can."""
    stored = [one.name for one in table.stored]
    if column in stored:
        return ""
    if any(one.name == column for one in table.columns):
        return f"{column} of {table.name} is computed and has no value of its own; {_listed(stored, 'columns')}"
    return f"{table.name} has no column {column}; {_offered(column, stored, 'columns')}"


def _offered(name: str, known: Collection[str], what: str) -> str:
    """What was perhaps meant, else all there are."""
    by_folded = {folded(one): one for one in known}
    near = [by_folded[one] for one in get_close_matches(folded(name), list(by_folded), n=3, cutoff=0.6)]
    return f"perhaps {' or '.join(near)}" if near else _listed(sorted(known), what)


def _listed(names: Collection[str], what: str) -> str:
    if not names:
        return f"there are no {what}"
    shown = list(names)[:NAMES_LISTED]
    rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"the {what} are {', '.join(shown)}{rest}"
