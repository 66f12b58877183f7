"""A file that goes back to a state from before a harvest: what was harvested of it meets itself."""

from __future__ import annotations

import pytest

from tests.tables.desk import Desk, on_a_desk
from tests.tables.two_copies import Copy


async def kept(copy: Copy) -> bytes:
    """The near file as it is, with what waits in it."""
    await copy.end()
    copy.connection.close()
    data = copy.path.read_bytes()
    copy.connection = copy._connect()
    return data


async def put_back(copy: Copy, data: bytes) -> None:
    await copy.end()
    copy.connection.close()
    copy.path.write_bytes(data)
    copy.connection = copy._connect()


async def near_writes(desk: Desk, sql: str) -> None:
    """And it is harvested: what was harvested before is not the last that was."""
    desk.near.connection.execute(sql)
    await desk.exchange()


def titles_of(copy: Copy) -> list[str]:
    return [str(title) for (title,) in copy.connection.execute("SELECT title FROM note ORDER BY title")]


def titles(desk: Desk) -> list[str]:
    """Of both files."""
    assert titles_of(desk.near) == titles_of(desk.far)
    return titles_of(desk.near)


def test_a_row_that_was_not_harvested_yet_is_not_there_twice() -> None:
    async def story(desk: Desk) -> None:
        desk.near.connection.execute("INSERT INTO note(title) VALUES('Bread'), ('Salt')")
        data = await kept(desk.near)
        await desk.exchange()
        await desk.far_writes("UPDATE note SET body = 'dark' WHERE title = 'Bread'")
        await near_writes(desk, "UPDATE note SET done = 1 WHERE title = 'Milk'")
        await put_back(desk.near, data)
        desk.near.connection.execute("INSERT INTO note(title) VALUES('Rice')")
        assert titles_of(desk.near) == ["Bread", "Milk", "Rice", "Salt"]
        await desk.exchange()
        assert titles(desk) == ["Bread", "Milk", "Rice", "Salt"]
        assert await desk.conflicts() == {}
        assert [row[2] for row in desk.near.connection.execute("SELECT * FROM note WHERE title = 'Bread'")] == ["dark"]

    on_a_desk(story)


@pytest.mark.parametrize(
    "after", ["INSERT INTO note(title) VALUES('Jam')", "INSERT INTO note VALUES(3, 'Jam', '', 0, NULL)"]
)
def test_another_row_under_the_same_number_is_another_one(after: str) -> None:
    async def story(desk: Desk) -> None:
        data = await kept(desk.near)
        desk.near.connection.execute("INSERT INTO note(title) VALUES('Bread'), ('Salt')")
        await desk.exchange()
        await put_back(desk.near, data)
        desk.near.connection.execute(after)
        await desk.exchange()
        assert titles(desk) == ["Bread", "Jam", "Milk", "Salt"]
        assert await desk.conflicts() == {}

    on_a_desk(story)


def test_a_row_that_was_deleted_since_comes_back() -> None:
    async def story(desk: Desk) -> None:
        desk.near.connection.execute("INSERT INTO note(title) VALUES('Bread')")
        data = await kept(desk.near)
        await desk.exchange()
        await desk.far_writes("DELETE FROM note WHERE title = 'Bread'")
        await near_writes(desk, "UPDATE note SET done = 1 WHERE title = 'Milk'")
        await put_back(desk.near, data)
        await desk.exchange()
        assert titles(desk) == ["Bread", "Milk"]

    on_a_desk(story)
