"""What was dropped and deleted is remembered here for a while."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from peerd.core.daemon_time import Age
from peerd.core.values import unpack
from peerd.errors import StoreDamaged
from tests.store.copies import Copy, delete, patch, put

DAY_MS = 86_400_000


async def grow_older(copy: Copy, elapsed_ms: int, history_ms: int, size: int = 1_000) -> int:
    """Let time pass and forget what is older; gives how much went."""
    age = Age(copy.store._meta.age.ms + elapsed_ms)
    await copy.store.upkeep.note_age(age)
    return await copy.store.upkeep.forget(age.ms - history_ms, size)


async def past(copy: Copy, collection: str, key: str) -> dict[str, list[tuple[int, Any]]]:
    found = await copy.store.read(lambda transaction: transaction.past((collection, key)))
    return {field: sorted((dot.seq, unpack(value)) for dot, value in values.items()) for field, values in found.items()}


async def image(copy: Copy, collection: str, key: str) -> Any:
    found = await copy.store.read(lambda transaction: transaction.images([(collection, key), ("nowhere", "x")]))
    return found.get((collection, key))


async def test_every_value_that_was_replaced_is_kept_under_its_dot(copy: Copy) -> None:
    """By field, from however many changes; also for a record that is gone."""
    await copy.write([put("todo", "a", title="one", n=1)])
    await copy.write([patch("todo", "a", title="two")])
    await copy.write([patch("todo", "a", title="three")])
    assert await past(copy, "todo", "a") == {"title": [(1, "one"), (2, "two")]}
    await copy.write([delete("todo", "a")])
    assert await past(copy, "todo", "a") == {"title": [(1, "one"), (2, "two"), (3, "three")], "n": [(1, 1)]}
    assert await past(copy, "todo", "b") == {}
    assert await past(copy, "nowhere", "a") == {}


async def test_a_deleted_record_leaves_its_image(copy: Copy) -> None:
    """What it looked like when it was last visible, and which transaction took it; the last delete counts."""
    await copy.write([put("todo", "a", title="one")])
    await copy.write([delete("todo", "a")])
    found = await image(copy, "todo", "a")
    assert {field: unpack(value) for field, value in found.values.items()} == {"title": "one"}
    assert found.removed_by == (copy.origin, 2)
    await copy.write([put("todo", "a", title="again")])
    await copy.write([delete("todo", "a")])
    found = await image(copy, "todo", "a")
    assert unpack(found.values["title"]) == "again"
    assert found.removed_by == (copy.origin, 4)
    assert await image(copy, "todo", "b") is None


async def test_history_is_forgotten_by_the_age_of_the_database_alone(copy: Copy) -> None:
    """Daemon time counts, across restarts; what is younger than the setting stays."""
    await copy.write([put("todo", "a", n=1), put("todo", "b", n=1)])
    await copy.write([patch("todo", "a", n=2)])
    assert await grow_older(copy, 20 * DAY_MS, 30 * DAY_MS) == 0
    await copy.write([patch("todo", "a", n=3), delete("todo", "b")])
    await copy.reopen()
    assert await grow_older(copy, 10 * DAY_MS, 30 * DAY_MS) == 0
    assert await past(copy, "todo", "a") == {"n": [(1, 1), (2, 2)]}
    assert await grow_older(copy, 1, 30 * DAY_MS) == 1
    assert await past(copy, "todo", "a") == {"n": [(2, 2)]}
    assert await image(copy, "todo", "b")
    assert await grow_older(copy, 25 * DAY_MS, 30 * DAY_MS) == 3
    assert await past(copy, "todo", "a") == {}
    assert await image(copy, "todo", "b") is None


async def test_an_image_that_is_renewed_is_as_young_as_its_last_delete(copy: Copy) -> None:
    """Forgetting reads from the front; a renewed image has gone to the back."""
    for round_ in range(2):
        for key in ("a", "b"):
            await copy.write([put("todo", key, n=round_)])
        await copy.write([delete("todo", "a"), delete("todo", "b")][: 2 - round_])
        await grow_older(copy, DAY_MS, 100 * DAY_MS)
    await grow_older(copy, 0, DAY_MS + 1)
    assert await image(copy, "todo", "a")
    assert await image(copy, "todo", "b") is None


async def test_the_image_of_a_record_that_stands_parked_is_kept(copy: Copy) -> None:
    """It is what the record is restored from, whenever that is. Parked: an edit is there, and no birth."""
    for key in ("a", "b"):
        await copy.write([put("todo", key, n=1)])
        await copy.write([delete("todo", key)])
    await copy.write([patch("todo", "a", n=2)])
    assert await grow_older(copy, 31 * DAY_MS, 30 * DAY_MS) > 0
    assert await image(copy, "todo", "a")
    assert await image(copy, "todo", "b") is None
    assert await grow_older(copy, 0, 0) == 0, "it is as if it was new"
    await copy.write([put("todo", "a", n=3)])
    assert await grow_older(copy, 1, 0) > 0
    assert await image(copy, "todo", "a") is None


async def test_forgetting_comes_in_portions(copy: Copy) -> None:
    """One call never holds the writer for long; the next goes on."""
    await copy.write([put("todo", "a", n=0)])
    for number in range(1, 6):
        await copy.write([patch("todo", "a", n=number)])
    assert [await grow_older(copy, DAY_MS, 1, size=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_a_large_value_counts_for_as_many_as_it_takes_pages(copy: Copy) -> None:
    """Of a few large ones one portion may be no more than of many small ones."""
    await copy.write([put("todo", "a", text="")])
    for number in range(4):
        await copy.write([patch("todo", "a", text=str(number) * 40_000)])
    await copy.write([delete("todo", "a")])
    assert [await grow_older(copy, DAY_MS, 1, size=12) for _ in range(5)] == [4, 2, 0, 0, 0]


@pytest.mark.parametrize("table", ["history", "image"])
async def test_damage_in_what_is_remembered_is_named(copy: Copy, table: str) -> None:
    """An error of the store, not of the decoder."""
    await copy.write([put("todo", "a", n=1)])
    await copy.write([delete("todo", "a")])
    with sqlite3.connect(copy.path) as connection:
        connection.execute(f"UPDATE {table} SET {'body' if table == 'history' else 'fields'} = x'c1'")  # noqa: S608 - names of ours
    connection.close()
    with pytest.raises(StoreDamaged, match="the history" if table == "history" else "the image"):
        await (past if table == "history" else image)(copy, "todo", "a")
