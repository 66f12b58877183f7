"""Records that lack a column which a file has: real files, spaces and runners, and schemas of different age."""

from __future__ import annotations

from tests.tables.desk import Desk, on_a_desk


def test_what_was_written_to_a_column_that_others_lack_stays() -> None:
    """Whatever comes from them, before it was harvested and after."""

    async def story(desk: Desk) -> None:
        near = desk.near.connection
        near.execute("INSERT INTO note(id, title) VALUES(2, 'Salt')")
        await desk.exchange()
        desk.far.connection.execute("UPDATE note SET title = 'Oat milk' WHERE id = 1")
        await desk.far.look()
        await desk.far.device.tell(desk.near.device)
        near.execute("ALTER TABLE note ADD COLUMN stars INT DEFAULT 3; UPDATE note SET stars = 5 WHERE id = 1")
        await desk.exchange()
        assert near.execute("SELECT title, stars FROM note").fetchall() == [("Oat milk", 5), ("Salt", 3)]
        await desk.far_writes("UPDATE note SET title = title || '!'")
        assert near.execute("SELECT title, stars FROM note").fetchall() == [("Oat milk!", 5), ("Salt!", 3)]
        await desk.far_writes("INSERT INTO note(id, title) VALUES(3, 'Tea')")
        assert near.execute("SELECT stars FROM note WHERE id = 3").fetchall() == [(3,)]
        desk.far.connection.execute("ALTER TABLE note ADD COLUMN stars INT DEFAULT 3")
        await desk.exchange()
        assert [desk.read(desk.far, one) for one in (1, 2, 3)] == [desk.read(desk.near, one) for one in (1, 2, 3)]

    on_a_desk(story)


def test_a_record_that_lacks_what_a_newer_schema_wants_is_parked_there() -> None:
    async def story(desk: Desk) -> None:
        near = desk.near.connection
        near.execute("UPDATE note SET url = NULL")
        near.execute(
            "ALTER TABLE note RENAME TO old; CREATE TABLE note(id INTEGER PRIMARY KEY, title, body, done, url, "
            "stars INT NOT NULL); INSERT INTO note SELECT *, 5 FROM old; DROP TABLE old"
        )
        await desk.exchange()
        await desk.far_writes("INSERT INTO note(id, title) VALUES(2, 'Tea')")
        parked = near.execute("SELECT code FROM _peerd_p").fetchall()
        assert parked == [("not-null",)]
        assert near.execute("SELECT id, stars FROM note").fetchall() == [(1, 5)]

    on_a_desk(story)
