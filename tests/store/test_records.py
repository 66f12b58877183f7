"""Rows of records: what is read back is what was decided, in the right order, and counted."""

from __future__ import annotations

import random
import sqlite3
from functools import partial
from typing import Any

import pytest

from peerd.core import digest
from peerd.core.record_form import digest_of
from peerd.core.values import pack, unpack
from peerd.errors import StoreDamaged
from peerd.store.transaction import OpenTransaction
from tests.store.copies import Copy, delete, patch, put


async def shown(
    copy: Copy, collection: str, prefix: str = "", after: str | None = None, limit: int = 1000
) -> tuple[list[str], bool]:
    page = await copy.store.page(collection, prefix, after, limit)
    return [key for key, _ in page.records], page.more


async def arrived(copy: Copy, after: int = 0, limit: int = 1000) -> tuple[list[str], int, bool]:
    page = await copy.store.by_arrival("todo", after, limit)
    return [key for key, _ in page.records], page.last, page.more


async def test_records_are_read_in_the_order_in_which_they_came(copy: Copy) -> None:
    """Those of other collections and what shows nothing are left out."""
    assert await arrived(copy) == ([], 0, False)
    for key in "dbcae":
        await copy.write([put("todo", key, n=1), put("notes", key, n=1)])
    await copy.write([patch("todo", "b", n=2), delete("todo", "c")])
    first, last, more = await arrived(copy, limit=2)
    assert (first, more) == (["d", "b"], True)
    rest, last, more = await arrived(copy, last, 2)
    assert (rest, more) == (["a", "e"], False)
    assert await arrived(copy, last) == ([], last, False)


async def test_large_records_make_shorter_pages(copy: Copy) -> None:
    for key in "abc":
        await copy.write([put("todo", key, text="x" * (5 << 20))])
    assert [await arrived(copy), (await arrived(copy, 1))[0]] == [(["a"], 1, True), ["b"]]


async def test_a_record_is_read_back_with_its_dots_and_values(copy: Copy) -> None:
    """Births, siblings, stamps and share survive the way to the disk and back, under the full origin."""
    await copy.write([put("todo", "milk", title="Milk", count=2)], t_ms=77)
    stored = await copy.record("todo", "milk")
    dot = (copy.origin, 1)
    assert stored.record.births == {dot}
    assert {field: unpack(stored.record.winner(field)) for field in stored.record.fields} == {
        "title": "Milk",
        "count": 2,
    }
    assert stored.record.stamps[dot].t_ms == 77
    bucket, share = digest_of("todo", "milk", [[copy.origin, 1, 77, 2]], body_of(copy, "milk"))
    assert stored.share == share
    assert copy.state.digest == digest.moved(digest.EMPTY, [(bucket, share)])


def body_of(copy: Copy, key: str) -> bytes:
    with sqlite3.connect(copy.path) as connection:
        (body,) = connection.execute("SELECT body FROM record WHERE key = ?", (key,)).fetchone()
    connection.close()
    return bytes(body)


async def test_shares_of_64_bits_come_back_unsigned(copy: Copy) -> None:
    """Half of all shares do not fit SQLite's signed integers as they are."""
    await copy.write(*[[put("todo", f"k{number}", n=number)] for number in range(40)])
    shares = [(await copy.record("todo", f"k{number}")).share for number in range(40)]
    assert all(0 <= share < 1 << 64 for share in shares)
    assert any(share >> 63 for share in shares)


async def test_many_names_of_several_collections_are_read_at_once(copy: Copy) -> None:
    """Any number of names, those that do not exist among them; the length of the list plays no part."""
    names = [(f"c{number % 3}", f"key {number}") for number in range(300)]
    await copy.write([put(*name, n=1) for name in names])
    for count in (0, 1, 2, 8, 9, 125, 126, 300):
        asked = [*names[:count], ("c0", "missing"), ("nowhere", "missing")]
        found = await copy.store.read(partial(OpenTransaction.records, names=asked))
        assert found.keys() == set(names[:count])


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 124, 125, 126, 260])
async def test_any_number_of_records_is_written_at_once(copy: Copy, count: int) -> None:
    names = [("todo", f"key {number}") for number in range(count)]
    await copy.write([put(*name, n=number) for number, name in enumerate(names)])
    found = await copy.store.read(lambda transaction: transaction.records(names))
    assert [found[name].record.winners() for name in names] == [{"n": pack(number)} for number in range(count)]


async def test_keys_may_be_any_text(copy: Copy) -> None:
    """A NUL inside, wildcards, quotes, characters outside of the first plane."""
    keys = ["a\0b", "a", "100%", "_", "it's", "\U0001f600", "\uffff", "É", "e\u0301"]
    await copy.write([put("todo", key, n=1) for key in keys])
    found = await copy.store.read(lambda transaction: transaction.records([("todo", key) for key in keys]))
    assert {name[1] for name in found} == set(keys)
    listed, _ = await shown(copy, "todo")
    assert listed == sorted(keys, key=str.encode)


async def test_pages_follow_the_bytes_of_the_keys(copy: Copy) -> None:
    """In pieces of any size the pages give every key once, in order; `more` says whether the last was reached."""
    chance = random.Random(5)
    keys = sorted({"".join(chance.choices("ab\u00e9\uffff\U0001f600", k=3)) for _ in range(60)}, key=str.encode)
    await copy.write([put("todo", key, n=1) for key in keys])
    for limit in (1, 7, len(keys), 1000):
        collected, after, more = [], None, True
        while more:
            page, more = await shown(copy, "todo", "", after, limit)
            assert len(page) <= limit
            collected += page
            after = page[-1]
        assert collected == keys


async def test_a_page_keeps_to_its_prefix(copy: Copy) -> None:
    """Neither keys before nor keys behind the prefix, and no `more` because of them; `after` may lie anywhere."""
    await copy.write([put("todo", key, n=1) for key in ("a", "ab", "abc", "ac", "b")])
    assert await shown(copy, "todo", "ab") == (["ab", "abc"], False)
    assert await shown(copy, "todo", "ab", None, 1) == (["ab"], True)
    assert await shown(copy, "todo", "ab", "ab") == (["abc"], False)
    assert await shown(copy, "todo", "ab", "a") == (["ab", "abc"], False)
    assert await shown(copy, "todo", "ab", "zzz") == ([], False)
    assert await shown(copy, "nothing") == ([], False)


async def test_a_page_of_large_records_ends_early(copy: Copy) -> None:
    """A page is bounded in bytes too, and still gives at least one record."""
    for key in "abc":
        await copy.write([put("files", key, data="x" * (5 << 20))])
    assert await shown(copy, "files") == (["a"], True)
    assert await shown(copy, "files", "", "a") == (["b"], True)
    assert await shown(copy, "files", "", "b") == (["c"], False)


async def test_collections_are_counted_through_every_kind_of_change(copy: Copy) -> None:
    """The counts follow births and deletes, and agree with the state of the copy."""

    async def counts() -> dict[str, int]:
        return {count.name: count.records for count in await copy.store.collections()}

    assert await counts() == {}
    await copy.write([put("b", "1", n=1), put("b", "2", n=1), put("a", "1", n=1)])
    assert list((await counts()).items()) == [("a", 1), ("b", 2)]
    await copy.write([put("b", "1", n=2), patch("b", "2", n=5)])
    assert await counts() == {"a": 1, "b": 2}
    await copy.write([delete("b", "1"), delete("a", "1")])
    assert await counts() == {"b": 1}
    assert copy.state.visible == 1
    await copy.write([put("a", "1", n=1), patch("a", "orphan", n=1)])
    assert await counts() == {"a": 1, "b": 1}


async def test_parked_and_conflicting_records_are_found_by_their_flags(copy: Copy) -> None:
    """In the order of (collection, key), from any place on, and no longer once they are settled."""
    await copy.write([patch("z", "parked", n=1), patch("a", "parked 2", n=1), patch("a", "parked 1", n=1)])
    await copy.write([put("a", "plain", n=1)])
    names = [("a", "parked 1"), ("a", "parked 2"), ("z", "parked")]
    flagged = await copy.store.flagged(None, 10)
    assert [name for name, _ in flagged] == names
    assert all(record.parked for _, record in flagged)
    assert [name for name, _ in await copy.store.flagged(names[0], 1)] == names[1:2]
    assert [name for name, _ in await copy.store.flagged(names[1], 10)] == names[2:]
    assert await shown(copy, "a") == (["plain"], False)
    await copy.write([put("a", "parked 1", n=2)])
    assert [name for name, _ in await copy.store.flagged(None, 10)] == names[1:]


async def test_a_record_that_nobody_asked_for_is_still_written_once(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing does not rely on the caller having read a record before."""
    await copy.write([put("todo", "a", n=1)])
    blind: list[Any] = []

    def decide(transaction: Any) -> Any:
        writes = blind[0]
        transaction.asked.clear()
        transaction.known.clear()
        return writes, None

    original = copy.store.transact

    async def steal(inside: Any, **rest: Any) -> Any:
        def both(transaction: Any) -> Any:
            writes, state = inside(transaction)
            blind[:] = [writes]
            return decide(transaction)[0], state

        return await original(both, **rest)

    monkeypatch.setattr(copy.store, "transact", steal)
    await copy.write([put("todo", "a", n=2), put("todo", "b", n=1)])
    await copy.write([delete("todo", "b")])
    assert (await copy.store.collections())[0].records == 1
    assert unpack((await copy.record("todo", "a")).record.winner("n")) == 2


@pytest.mark.parametrize("column", ["stamps", "body"])
async def test_a_damaged_row_is_reported_and_nothing_else(copy: Copy, column: str) -> None:
    """The error names the file and what to do; other records can still be read."""
    await copy.write([put("todo", "a", n=1), put("todo", "b", n=1)])
    with sqlite3.connect(copy.path) as connection:
        connection.execute(f"UPDATE record SET {column} = x'93c1c1' WHERE key = 'a'")  # noqa: S608 - a name of ours
    connection.close()
    with pytest.raises(StoreDamaged, match="a record cannot be read") as raised:
        await copy.record("todo", "a")
    assert str(copy.path) in str(raised.value)
    assert "space rebuild" in raised.value.next_step
    assert await copy.record("todo", "b")


async def test_the_digest_of_the_rows_is_the_digest_that_is_kept(copy: Copy) -> None:
    """After a random history the sums recomputed from the disk are those in the row of the space."""
    chance = random.Random(11)
    for _ in range(30):
        changes = []
        for key in chance.sample("abcdefgh", 3):
            kind = chance.choice([put, patch, delete])
            changes.append(kind("c" + chance.choice("12"), key, **({} if kind is delete else {"n": chance.random()})))
        await copy.write(changes)
    assert (await copy.reopen()).state == copy.state

    def recomputed(transaction: Any) -> bytes:
        steps = []
        connection, refs = transaction._connection, transaction._refs
        for collection, key, stamps, body in connection.execute(
            "SELECT name, key, stamps, body FROM record JOIN collection ON number = collection"
        ):
            steps.append(digest_of(collection, key, refs.decode_stamps(stamps), body))
        return digest.moved(digest.EMPTY, steps)

    assert await copy.store.read(recomputed) == copy.state.digest
