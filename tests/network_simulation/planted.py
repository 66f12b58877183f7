"""Mistakes that the engine, or what it is built of, might make. The histories must notice each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from msgspec.structs import replace

from peerd.protocol.courier_steps import Moment, SeenHead
from peerd.protocol.own_head import OwnHead
from tests.relay_simulation import planted as of_couriers

Planted = Callable[[], AbstractContextManager[None]]


@contextmanager
def older_head_taken_for_ours() -> Iterator[None]:
    """A head of ours that a relay was set back to counts as the newest that we wrote."""
    real = OwnHead.seen

    def seen(self: OwnHead, seen: SeenHead, moment: Moment) -> str:
        memory, head = self._memory, seen.head
        if head is None or memory.put is None or head.counter >= memory.put.counter:
            return real(self, seen, moment)
        self.tag = seen.tag
        memory.put = replace(memory.put, tag=seen.tag)
        return ""

    with patch.object(OwnHead, "seen", seen):
        yield


OF_RELAYS: dict[str, Planted] = {
    mistake.__name__: mistake
    for mistake in (
        of_couriers.collected_before_acknowledged,
        of_couriers.former_life_overwritten,
        of_couriers.done_when_fetched,
        older_head_taken_for_ours,
    )
}
