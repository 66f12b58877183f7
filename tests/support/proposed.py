"""Proposals for schemas that SQLite has read, so that tests of the rules rest on real ones."""

from __future__ import annotations

from typing import Any

import apsw

from peerd.core.tables.proposals import Choices, Proposal, propose
from peerd.core.tables.shape import Schema
from peerd.tables.reading import read_schema


def schema_of(*statements: str) -> Schema:
    """The schema that CREATE statements make; `CREATE TABLE` may be left out."""
    connection = apsw.Connection(":memory:")
    for statement in statements:
        connection.execute(statement if statement.startswith("CREATE") else f"CREATE TABLE {statement}")
    schema = read_schema(connection)
    connection.close()
    return schema


def proposed(*statements: str, **choices: Any) -> Proposal:
    """How these tables would be bound as `app`."""
    return propose(schema_of(*statements), "app", Choices(**choices))
