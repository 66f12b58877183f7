"""The settings of collections as they are kept in memory."""

from __future__ import annotations

from typing import Any

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.reading import DEFAULT_RULES, SETTINGS, Rules
from peerd.protocol.control.messages import CollectionChange


async def test_settings_are_known_at_once_here_when_they_arrive_elsewhere_and_after_a_restart(two: Any) -> None:
    """They are records: written here, merged there, read again at the start."""
    desk, laptop = two
    await desk.records.set_collection("notes", CollectionChange(policy="newest", fields={"rank": "max"}))
    expected = Rules(policy="newest", fields={"rank": "max"})
    assert desk.space.commits.rules.of("notes") == expected
    await desk.tell(laptop)
    assert laptop.space.commits.rules.of("notes") == expected
    laptop = await laptop.reopen()
    assert laptop.space.commits.rules.of("notes") == expected
    assert laptop.space.commits.rules.of("others") == DEFAULT_RULES


async def test_settings_that_are_deleted_are_the_default_again(desk: Any) -> None:
    """Their record is gone, and so is what it said."""
    await desk.records.set_collection("notes", CollectionChange(policy="min"))
    await desk.space.commits.write([Intent(Kind.DELETE, SETTINGS, "notes")])
    assert desk.space.commits.rules.of("notes") == DEFAULT_RULES
