"""Bindings of this device, and the notes that are kept with the transactions they caused."""

from __future__ import annotations

import sqlite3

import pytest
from msgspec.structs import replace

from peerd.core.clocks import Dot
from peerd.core.stored import Note, StoredBinding
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.writes import Writes
from peerd.errors import StoreDamaged
from tests.store.copies import Copy

PLAN = BindingPlan(
    "todo", (TablePlan(1, "tasks", "todo.tasks", KeyClass.CONTENT, ("name",), {"list_id": "lists"}, run_triggers=True),)
)
TODO = StoredBinding("todo", "/home/ada/todo.db", PLAN, b"settings")


async def test_a_binding_is_kept_until_it_is_forgotten_and_its_number_is_never_given_again(copy: Copy) -> None:
    kept = await copy.store.save_binding(TODO)
    assert kept == replace(TODO, number=1)
    await copy.reopen()
    assert await copy.store.bindings() == [kept]
    moved = await copy.store.save_binding(replace(kept, database="/home/ada/new.db"))
    assert await copy.store.bindings() == [moved]
    await copy.store.forget_binding(1)
    assert await copy.store.bindings() == []
    assert (await copy.store.save_binding(TODO)).number == 2


async def test_saving_a_binding_leaves_its_note(copy: Copy) -> None:
    kept = await copy.store.save_binding(TODO)
    await write(copy, [(Note(1, b"note"), Dot(b"o" * 16, 4))])
    await copy.store.save_binding(kept)
    (stored,) = await copy.store.bindings()
    assert (stored.note, stored.dot) == (b"note", Dot(b"o" * 16, 4))


async def test_a_binding_that_cannot_be_read_is_damage(copy: Copy) -> None:
    await copy.store.save_binding(TODO)
    with sqlite3.connect(copy.path) as connection:
        connection.execute("UPDATE binding SET plan = x'c1'")
    connection.close()
    with pytest.raises(StoreDamaged, match="a binding"):
        await copy.store.bindings()


async def write(copy: Copy, notes: list[tuple[Note, Dot]]) -> None:
    """A transaction that says nothing, with notes."""
    nothing = Writes(copy.store.opened.state, [], [], [], [], {}, {})
    await copy.store.transact(lambda _: (nothing, None), notes=lambda: notes)


async def test_the_note_of_a_transaction_replaces_the_one_before(copy: Copy) -> None:
    await copy.store.save_binding(TODO)
    await write(copy, [(Note(1, b"first"), Dot(b"o" * 16, 4))])
    await write(copy, [(Note(1, b"second"), Dot(b"o" * 16, 5)), (Note(9, b"nobody's"), Dot(b"o" * 16, 6))])
    (stored,) = await copy.store.bindings()
    assert (stored.note, stored.dot) == (b"second", Dot(b"o" * 16, 5))
