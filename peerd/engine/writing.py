"""One transaction of our own: from what a caller wants to its entry in the batch, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from peerd.core.batch import Author, Batch, Name
from peerd.core.clocks import Dot
from peerd.core.entry import Change
from peerd.core.intents import Intent, plan
from peerd.core.reading import etag
from peerd.engine.collection_rules import CollectionRules
from peerd.engine.store_ports import Transaction
from peerd.errors import UserError


class Touched(NamedTuple):
    """A record after a write."""

    etag: str | None
    changed: bool
    created: bool


class Written(NamedTuple):
    """A transaction, once it is durable; `dot` is None if there was nothing to say."""

    dot: Dot | None
    records: list[Touched]


def write_one(
    transaction: Transaction,
    batch: Batch,
    author: Author,
    intents: Sequence[Intent],
    rules: CollectionRules,
    t_ms: int,
    tq: int,
) -> Written:
    """Write all intents, or none, into `batch`, which has loaded their records.

    Raises:
        UserError: a precondition does not hold, or it is too large.
    """
    planned: list[Change | None] = []
    befores: list[bool] = []
    for intent in intents:
        name = intent.collection, intent.key
        record = batch.records[name]
        befores.append(record is not None and record.visible)
        planned.append(plan(record, intent, rules.of(intent.collection), partial(_past, transaction, batch, name)))
    changes = [change for change in planned if change is not None]
    try:
        dot = batch.write(author, changes, t_ms, tq) if changes else None
    except ValueError as problem:
        raise UserError(str(problem), code="too-large", status=413) from None
    touched: list[Touched] = []
    for intent, change, was_visible in zip(intents, planned, befores, strict=True):
        record = batch.records[intent.collection, intent.key]
        if record is not None and record.visible:
            touched.append(Touched(etag(record), change is not None, not was_visible))
        else:
            touched.append(Touched(None, change is not None, created=False))
    return Written(dot, touched)


def _past(transaction: Transaction, batch: Batch, name: Name) -> Mapping[str, Mapping[Dot, bytes]]:
    """Values of the record that were dropped, by this very batch too."""
    return batch.past(name, transaction.past(name))
