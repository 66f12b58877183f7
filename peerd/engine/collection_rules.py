"""The settings of collections, kept in memory: they travel as records of `_settings` and are needed at every read."""

from __future__ import annotations

from peerd.core.reading import DEFAULT_RULES, SETTINGS, Rules, as_object, rules_from, shown
from peerd.core.record import Record
from peerd.core.record_form import decode_record
from peerd.core.writes import Writes
from peerd.engine.store_ports import SpaceStore

COLLECTIONS = 10_000


class CollectionRules:
    """`named` has the collections that have settings; every other has the default ones."""

    def __init__(self) -> None:
        self.named: dict[str, Rules] = {}

    def of(self, collection: str) -> Rules:
        return self.named.get(collection, DEFAULT_RULES)

    async def load(self, store: SpaceStore) -> None:
        page = await store.page(SETTINGS, "", None, COLLECTIONS)
        self.named.clear()
        for name, record in page.records:
            self._learn(name, record)

    def learn(self, writes: Writes) -> None:
        """What a commit changed of them."""
        for row in writes.rows:
            if row.name[0] == SETTINGS:
                self._learn(row.name[1], decode_record(row.stamps, row.body))
        for collection, name in writes.gone:
            if collection == SETTINGS:
                self.named.pop(name, None)

    def _learn(self, collection: str, record: Record) -> None:
        self.named[collection] = rules_from(as_object(shown(record, DEFAULT_RULES)))
