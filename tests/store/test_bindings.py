"""Bindings of this device, and the notes that are kept with the transactions they caused."""

from __future__ import annotations

import shutil
import sqlite3

import pytest
from msgspec.structs import replace

from peerd.core.clocks import Dot
from peerd.core.stored import Note, StoredBinding
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.settings import BindingSettings, decode_settings, encode_settings
from peerd.core.writes import Writes
from peerd.errors import StoreDamaged
from peerd.store.machine import Machine
from tests.store.copies import Copy, put

PLAN = BindingPlan(
    "todo", (TablePlan(1, "tasks", "todo.tasks", KeyClass.CONTENT, ("name",), {"list_id": "lists"}, run_triggers=True),)
)
TODO = StoredBinding(b"b" * 16, "todo", "/home/ada/todo.db", PLAN, b"settings")


async def test_a_binding_is_kept_until_it_is_forgotten(copy: Copy) -> None:
    await copy.store.bindings.save(TODO)
    await copy.reopen()
    assert await copy.store.bindings.load() == [TODO]
    moved = replace(TODO, database="/home/ada/new.db")
    await copy.store.bindings.save(moved)
    assert await copy.store.bindings.load() == [moved]
    await copy.store.bindings.forget(TODO.id)
    assert await copy.store.bindings.load() == []


@pytest.mark.parametrize("change", ["restored", "moved", "power cut", "nothing"])
async def test_a_copy_that_was_not_here_before_does_not_know_the_bound_files(copy: Copy, change: str) -> None:
    """They show the one that was; a copy that only lost the power is the one that was."""
    await copy.write([put("todo", "a", n=1)])
    bound = replace(TODO, settings=encode_settings(BindingSettings(include=("tasks",))))
    await copy.store.bindings.save(bound)
    await copy.reopen()
    before = copy.path.with_suffix(".before")
    shutil.copy(copy.path, before)
    await copy.write([put("todo", "b", n=1)])
    if change == "power cut":
        await copy.store.abandon()
        copy.machine = Machine("this machine", "second boot")
    else:
        await copy.store.close()
    if change == "restored":
        before.replace(copy.path)
    if change == "moved":
        copy.mark_path.unlink()
    note = (await copy.open()).origin_note
    assert bool(note) == (change != "nothing")
    (stored,) = await copy.store.bindings.load()
    assert decode_settings(stored.settings).renewed == (change in {"restored", "moved"})
    assert replace(stored, settings=bound.settings) == bound


async def test_saving_a_binding_leaves_its_note(copy: Copy) -> None:
    await copy.store.bindings.save(TODO)
    await write(copy, [(Note(TODO.id, b"note"), Dot(b"o" * 16, 4))])
    await copy.store.bindings.save(TODO)
    (stored,) = await copy.store.bindings.load()
    assert (stored.note, stored.dot) == (b"note", Dot(b"o" * 16, 4))


async def test_a_binding_that_cannot_be_read_is_damage(copy: Copy) -> None:
    await copy.store.bindings.save(TODO)
    with sqlite3.connect(copy.path) as connection:
        connection.execute("UPDATE binding SET plan = x'c1'")
    connection.close()
    with pytest.raises(StoreDamaged, match="a binding"):
        await copy.store.bindings.load()


async def write(copy: Copy, notes: list[tuple[Note, Dot]]) -> None:
    """A transaction that says nothing, with notes."""
    nothing = Writes(copy.store.opened.state, [], [], [], [], {}, {})
    await copy.store.transact(lambda _: (nothing, None), notes=lambda: notes)


async def test_the_note_of_a_transaction_replaces_the_one_before(copy: Copy) -> None:
    await copy.store.bindings.save(TODO)
    await write(copy, [(Note(TODO.id, b"first"), Dot(b"o" * 16, 4))])
    await write(
        copy, [(Note(TODO.id, b"second"), Dot(b"o" * 16, 5)), (Note(b"?" * 16, b"nobody's"), Dot(b"o" * 16, 6))]
    )
    (stored,) = await copy.store.bindings.load()
    assert (stored.note, stored.dot) == (b"second", Dot(b"o" * 16, 5))
