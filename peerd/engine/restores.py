"""Which parked records are ours to restore now; see `peerd.core.restore` for the rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from peerd.core.batch import Batch, Name
from peerd.core.entry import Change, Kind
from peerd.core.restore import is_ours_to_restore, restore
from peerd.engine.collection_rules import CollectionRules

LACKING = 10_000  # records of which somebody may say so


class Restores:
    """`without_image` holds what members said: which of them hold no image of a record. `doubts(name)`: is our copy
    known to be damaged there? Then what looks as if it had met a delete may have lost its birth on our disk.
    """

    def __init__(self, us: bytes, rules: CollectionRules) -> None:
        self.without_image: dict[Name, set[bytes]] = {}
        self.doubts: Callable[[Name], bool] = lambda _: False
        self._us = us
        self._rules = rules

    def lacks(self, device: bytes, names: Iterable[Name]) -> None:
        """A member says that it holds no image of these. Of what was said, so much is kept; they say it again."""
        for name in names:
            self.without_image.setdefault(name, set()).add(device)
        while len(self.without_image) > LACKING:
            del self.without_image[next(iter(self.without_image))]

    def due(self, batch: Batch, active: Collection[bytes]) -> tuple[list[Change], list[Name]]:
        """What is to be written for the records that `batch` leaves parked, and those of which we hold no image."""
        changes: list[Change] = []
        lacking: list[Name] = []
        for name in batch.parked():
            record = batch.records[name]
            if record is None or self.doubts(name):
                continue
            if self._rules.of(name[0]).deletes == "delete_wins":
                changes.append(Change(Kind.DELETE, *name))
                continue
            image = batch.image(name)
            if image is None:
                lacking.append(name)
                continue
            without = self.without_image.get(name, set())
            if is_ours_to_restore(record, self._us, batch.state.device_of, active, without):
                changes.append(restore(record, name, image))
        return changes, lacking
