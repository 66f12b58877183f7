"""What is bound, beside the database: it follows, and is there when the database is not."""

from __future__ import annotations

import sqlite3

from msgspec.structs import replace

from peerd.core.clocks import Dot
from peerd.core.stored import Note
from peerd.core.tables.settings import BindingSettings, decode_settings, encode_settings
from peerd.store import binding_copy, founding
from tests.store.copies import SPACE, Copy
from tests.store.test_bindings import TODO, write

BOUND = replace(TODO, settings=encode_settings(BindingSettings(exclude=("drafts",))))
RENEWED = encode_settings(BindingSettings(exclude=("drafts",), renewed=True))


async def test_the_copy_follows_the_database(copy: Copy) -> None:
    await copy.store.bindings.save(BOUND)
    assert binding_copy.load(copy.path) == [BOUND]
    moved = replace(BOUND, database="/home/ada/new.db")
    await copy.store.bindings.save(moved)
    assert binding_copy.load(copy.path) == [moved]
    await copy.store.bindings.forget(BOUND.id)
    assert binding_copy.load(copy.path) == []


async def test_a_start_writes_what_is_missing(copy: Copy) -> None:
    await copy.store.bindings.save(BOUND)
    binding_copy.place(copy.path).unlink()
    await copy.reopen()
    assert binding_copy.load(copy.path) == [BOUND]


async def test_what_is_salvaged_is_for_a_new_copy_and_has_its_note(copy: Copy) -> None:
    await copy.store.bindings.save(BOUND)
    await write(copy, [(Note(TODO.id, b"note"), Dot(b"o" * 16, 4))])
    (found,) = binding_copy.salvage(copy.path)
    assert (found.note, found.dot, found.settings) == (b"note", Dot(b"o" * 16, 4), RENEWED)
    await copy.store.close()
    copy.path.unlink()
    await founding.create(copy.path, SPACE, "home", copy.chance.randbytes, bound=[found], threaded=False)
    await copy.open()
    (kept,) = await copy.store.bindings.load()
    assert kept == found


async def test_where_the_database_cannot_be_read_the_copy_is(copy: Copy) -> None:
    await copy.store.bindings.save(BOUND)
    with sqlite3.connect(copy.path) as connection:
        connection.execute("UPDATE binding SET plan = x'c1'")
    connection.close()
    (found,) = binding_copy.salvage(copy.path)
    assert (found.id, found.plan, found.note) == (BOUND.id, BOUND.plan, None)
    assert decode_settings(found.settings).renewed
    await copy.reopen()
    assert binding_copy.load(copy.path) == [BOUND], "what cannot be read does not take its place"
