"""Rows that cannot be taken into the space are named as long as they are there."""

from __future__ import annotations

from peerd.core.tables.plans import KeyClass, TablePlan
from tests.tables.desk import Desk, on_a_desk
from tests.tables.random_apps import RandomTable

SQL = "CREATE TABLE tag(id INTEGER PRIMARY KEY, name TEXT NOT NULL, n INT)"
TAG = RandomTable(TablePlan(1, "tag", "app.tag", KeyClass.CONTENT, ("name",)), [SQL], {}, "name")


def named(desk: Desk) -> list[tuple[str, str]]:
    assert desk.near.runner is not None
    return [(table, key) for table, key, _ in desk.near.runner.harvesting.not_captured]


def test_the_second_row_of_one_identity_is_named_until_it_is_another_one() -> None:
    """Whatever else is harvested, and after a start."""

    async def story(desk: Desk) -> None:
        near = desk.near.connection
        near.execute("INSERT INTO tag(name, n) VALUES('garden', 1), ('garden', 2)")
        await desk.exchange()
        assert named(desk) == [("tag", "2")]
        near.execute("INSERT INTO note(title) VALUES('Bread')")
        await desk.exchange()
        assert named(desk) == [("tag", "2")]
        await desk.near.end()
        await desk.exchange()
        assert named(desk) == [("tag", "2")]
        near.execute("UPDATE tag SET name = 'house' WHERE n = 2")
        await desk.exchange()
        assert named(desk) == []
        assert [row[0] for row in desk.far.connection.execute("SELECT name FROM tag ORDER BY name")] == [
            "garden",
            "house",
        ]

    on_a_desk(story, others={"tag": TAG})
