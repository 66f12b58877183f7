"""What has to be on our own disk before a relay hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peerd.core.stored import RelayKept
from peerd.engine.relay.fork_talk import RelayForkTalk
from peerd.engine.relay.steps import RelaySteps
from peerd.protocol.relay.courier_steps import PutSegment

if TYPE_CHECKING:
    from tests.engine.conftest import Device

STREAM, PLACE = b"s" * 16, "folder"


class Unmoved:
    """A courier that has nothing new to remember."""

    def memory(self) -> bytes:
        return b"as before"

    def segment_put(self, *_: Any) -> None:
        return


async def test_a_sealed_segment_is_durable_before_the_relay_has_it(desk: Device) -> None:
    """Also if nothing else is new: sealed once more it would be other bytes, and taken for somebody else's."""
    space = desk.space
    seen: list[Any] = []

    class Sealed:
        def seal_segment(self, *_: Any) -> bytes:
            return b"sealed"

        async def put_segment(self, *_: Any) -> bool:
            seen.append(dict((await space.store.relays.load(PLACE)).outbox))
            return True

    kept = RelayKept(memory=b"as before", outbox={})
    courier: Any = Unmoved()
    sealed: Any = Sealed()
    moment: Any = lambda: None  # noqa: E731 - nobody looks at it
    steps = RelaySteps(space, RelayForkTalk(space, "folder"), PLACE, sealed, desk.clock, moment, kept)
    segment: Any = object()
    await steps.perform(courier, PutSegment(STREAM, 1, segment))
    assert seen == [{(STREAM, 1): b"sealed"}]
    await steps.save(courier)
    assert (await space.store.relays.load(PLACE)).outbox == {}
