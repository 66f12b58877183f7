"""Collections that are tables somewhere, kept in memory: what may be written to their records."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.record import Record
from peerd.core.record_form import decode_record
from peerd.core.tables.shared import TABLES, SharedPlan, named_by, plan_in
from peerd.core.tables.ties import groups
from peerd.core.writes import Writes
from peerd.engine.store_ports import SpaceStore
from peerd.errors import UserError

TABLES_AT_MOST: Final = 10_000


class BoundCollections:
    """By collection. Devices may bind a table without this one: what they agreed on is in the space."""

    def __init__(self) -> None:
        self._stated: dict[str, SharedPlan] = {}  # by the key of the record
        self._of: dict[str, SharedPlan] = {}

    async def load(self, store: SpaceStore) -> None:
        page = await store.page(TABLES, "", None, TABLES_AT_MOST)
        self._learn(page.records, ())

    def learn(self, writes: Writes) -> None:
        """What a commit changed of them."""
        rows = [(row.name[1], decode_record(row.stamps, row.body)) for row in writes.rows if row.name[0] == TABLES]
        gone = [key for collection, key in writes.gone if collection == TABLES]
        if rows or gone:
            self._learn(rows, gone)

    def _learn(self, rows: Iterable[tuple[str, Record]], gone: Collection[str]) -> None:
        for key, record in rows:
            plan = plan_in(record) if record.visible else None
            if plan is not None and (key in self._stated or len(self._stated) < TABLES_AT_MOST):
                self._stated[key] = plan
            elif plan is None:
                self._stated.pop(key, None)
        for key in gone:
            self._stated.pop(key, None)
        self._of = {plan.collection: plan for plan in self._stated.values() if plan.collection}

    def tied(self, collection: str, column: str) -> frozenset[str]:
        """The columns that are written together with this one, itself left out."""
        plan = self._of.get(collection)
        return groups(plan.tied).get(column, frozenset()) - {column} if plan is not None else frozenset()

    def check(self, intent: Intent) -> None:
        """Does the key of a record agree with the columns that make it? A change may leave them alone.

        Raises:
            UserError: key-mismatch.
        """
        plan = self._of.get(intent.collection)
        if plan is None or intent.kind == Kind.DELETE:
            return
        if intent.kind == Kind.PATCH and not any(name in intent.set or name in intent.drop for name in plan.identity):
            return
        try:
            key = named_by(plan, intent.set)
        except LookupError as lacking:
            raise _mismatch(intent, plan, f"{lacking.args[0]} is lacking") from None
        except ValueError as problem:
            raise _mismatch(intent, plan, f"no column can hold such a value ({problem})") from None
        if key is not None and key != intent.key:
            raise _mismatch(intent, plan, f"these values make the key {key!r}")


def _mismatch(intent: Intent, plan: SharedPlan, why: str) -> UserError:
    columns = ", ".join(plan.identity)
    rename = "To rename a row, write a new record and delete this one."
    if intent.kind == Kind.PATCH:
        step = f"Leave {columns} out, or name them as they are. {rename}"
    else:
        step = f"Give the record all of {columns}, and the key that they make. {rename}"
    return UserError(
        f"{intent.collection}/{intent.key} is a row that is known by {columns}: {why}",
        code="key-mismatch",
        status=422,
        next_step=step,
    )
