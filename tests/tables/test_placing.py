"""Which records have rows: greedy placement, as a function of what the space has."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from peerd.core.tables.changes import Applied, RowImage
from peerd.core.tables.plans import BindingPlan
from peerd.tables.project import project
from tests.support.table_space import NOW_MS, BoundFile, Oracle, image, table

CROWD = (
    """CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE, mail TEXT, city TEXT,
        age INT CHECK(age < 60), UNIQUE(city, mail))""",
    "CREATE UNIQUE INDEX grown ON person(mail) WHERE age > 30",
    "CREATE UNIQUE INDEX computed ON person(lower(city) || (age % 7))",
    "CREATE TABLE tag(code TEXT PRIMARY KEY NOT NULL, up TEXT REFERENCES tag(code), short TEXT UNIQUE)",
    """CREATE TABLE note(id INTEGER PRIMARY KEY AUTOINCREMENT,
        person_id INT NOT NULL REFERENCES person(id) ON DELETE CASCADE,
        reply_to INT REFERENCES note(id) ON DELETE SET NULL, title TEXT, UNIQUE(person_id, title))""",
    """CREATE TABLE note_tag(note_id INT NOT NULL REFERENCES note(id), tag TEXT NOT NULL REFERENCES tag(code),
        place INT, PRIMARY KEY(note_id, tag), UNIQUE(tag, place)) WITHOUT ROWID""",
)
CROWD_PLAN = BindingPlan(
    "crowd",
    (
        table(0, "person"),
        table(1, "tag", "natural", identity=("code",)),
        table(2, "note", references={"person_id": "person", "reply_to": "note"}),
        table(3, "note_tag", "natural", identity=("note_id", "tag"), references={"note_id": "note"}),
    ),
)
CROWD_ORACLE = Oracle(
    CROWD,
    ("person", "tag", "note", "note_tag"),
    {"person": "id", "note": "id"},
    {
        "tag": {"up": "tag"},
        "note": {"person_id": "person", "reply_to": "note"},
        "note_tag": {"note_id": "note", "tag": "tag"},
    },
)


def random_image(chance: random.Random, dots: int, ranks: dict[tuple[str, str], tuple[int, int]]) -> RowImage:
    """A change of one of few records. Its values collide often, its parents are often not there."""
    name = chance.choice(("person", "person", "tag", "note", "note", "note_tag"))
    pick = chance.choice
    number = chance.randrange(8)
    key, fields = f"{name[0]}{number}", {}
    match name:
        case "person":
            fields = {"id": pick((1, 2, number)), "name": pick(("Al", "al", "Bo", "cy", "Di", None))}
            fields |= {"mail": pick(("x", "y", "z")), "city": pick(("Ur", "ur", "Rome")), "age": chance.randrange(65)}
        case "tag":
            fields = {"code": key, "up": pick((None, f"t{chance.randrange(8)}")), "short": pick(("a", "b", "c", None))}
        case "note":
            fields = {"id": pick((1, 2, number)), "person_id": f"p{chance.randrange(8)}", "title": pick("abc")}
            fields["reply_to"] = pick((None, None, f"n{chance.randrange(8)}"))
        case _:
            note, tag = f"n{chance.randrange(4)}", f"t{chance.randrange(4)}"
            key, fields = f"{note},{tag}", {"note_id": note, "tag": tag, "place": chance.randrange(4)}
    if chance.random() < 0.02 or (name, key) not in ranks:
        ranks[name, key] = (chance.randrange(5), chance.randrange(1000))
    born, seq = ranks[name, key]
    return image(name, key, None if chance.random() < 0.2 else fields, born=born, seq=seq, dots=dots)


@pytest.mark.parametrize("seed", range(25))
def test_every_file_shows_what_brute_force_shows(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    files = [BoundFile(tmp_path / f"{number}.db", CROWD, CROWD_PLAN) for number in range(3)]
    waiting: list[list[RowImage]] = [[], [], []]
    newest: dict[tuple[str, str], RowImage] = {}
    ranks: dict[tuple[str, str], tuple[int, int]] = {}
    for step in range(60):
        for _ in range(chance.choice((1, 2, 6))):
            new = random_image(chance, step, ranks)
            newest[new.collection, new.key] = new
            for one in waiting:
                one.append(new)
        for number, file in enumerate(files):
            if chance.random() < 0.5:
                batch = list({(one.collection, one.key): one for one in waiting[number]}.values())
                chance.shuffle(batch)
                waiting[number] = []
                file.show(*batch)
                assert file.shown() == CROWD_ORACLE.shown(file.images.values()), f"seed {seed}, step {step}"
    for number, file in enumerate(files):
        file.show(*waiting[number])
        assert file.shown() == CROWD_ORACLE.shown(newest.values())
    assert files[0].parked() == files[1].parked() == files[2].parked()
    assert files[0].parked() != {}


@pytest.mark.parametrize("seed", range(100, 106))
def test_parked_records_may_be_left_to_the_last_of_many_projections(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    file = BoundFile(tmp_path / "app.db", CROWD, CROWD_PLAN)
    ranks: dict[tuple[str, str], tuple[int, int]] = {}
    for step in range(40):
        images = {(one.collection, one.key): one for one in (random_image(chance, step, ranks) for _ in range(3))}
        file.images |= images
        applied = Applied(b"c" * 16, step)
        project(file.connection, file.schema, file.plan, list(images.values()), applied, device="us", now_ms=NOW_MS)
        file.check()
        if step % 8 == 7:
            file.show()
            assert file.shown() == CROWD_ORACLE.shown(file.images.values())


TREE = (
    """CREATE TABLE item(code TEXT PRIMARY KEY COLLATE NOCASE NOT NULL, alias TEXT UNIQUE,
        up TEXT REFERENCES item(code), beside TEXT REFERENCES item(alias), name TEXT UNIQUE)""",
)
TREE_PLAN = BindingPlan("app", (table(0, "item", "natural", identity=("code",)),))


def item(code: str, born: int, *, dots: int = 1, **fields: str | None) -> RowImage:
    return image("item", code, {"code": code, **fields}, born=born, dots=dots)


def test_a_row_makes_way_for_its_own_parent(tmp_path: Path) -> None:
    """Parents come first, however young they are; also while the parent's own row is being written anew."""
    file = BoundFile(
        tmp_path / "app.db",
        ("CREATE TABLE note(id INTEGER PRIMARY KEY, up INT REFERENCES note(id), title TEXT UNIQUE)",),
        BindingPlan("app", (table(0, "note", references={"up": "note"}),)),
    )
    file.show(
        image("note", "parent", {"up": None, "title": "a"}, born=9),
        image("note", "child", {"up": "parent", "title": "b"}, born=1),
    )
    file.show(image("note", "parent", {"up": None, "title": "b"}, born=9, dots=2))
    assert file.parked() == {("note", "child"): "unique"}


def test_a_parent_is_known_as_sqlite_compares_names(tmp_path: Path) -> None:
    """The deeper row yields, though it is older and names its parent in other letters."""
    file = BoundFile(tmp_path / "app.db", TREE, TREE_PLAN)
    file.show(item("child", 1, up="ROOT", name="n"), item("other", 5, name="n"), item("root", 3))
    assert file.parked() == {("item", "child"): "unique"}


def test_rows_that_wait_count_with_what_they_are_to_be(tmp_path: Path) -> None:
    """`deep` gives up the alias that `lone` takes; what `beside` names is `lone`, in every file."""
    end = [
        item("d1", 1),
        item("d2", 1, up="d1"),
        item("deep", 1, up="d2", alias="new", dots=2),
        item("lone", 1, alias="old", dots=2),
        item("near", 2, beside="old", name="n"),
        item("far", 1, up="d2", name="n"),
    ]
    files = [BoundFile(tmp_path / f"{number}.db", TREE, TREE_PLAN) for number in range(2)]
    files[0].show(item("d1", 1), item("d2", 1, up="d1"), item("deep", 1, up="d2", alias="old"), item("lone", 1))
    for file in files:
        file.show(*end)
        assert file.parked() == {("item", "far"): "unique"}


def test_a_circle_that_fails_leaves_the_search_for_collisions_in_order(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        (
            "CREATE TABLE note(id INTEGER PRIMARY KEY, up INT REFERENCES note(id), title TEXT CHECK(title <> 'bad'))",
            "CREATE UNIQUE INDEX short ON note(lower(title))",
        ),
        BindingPlan("app", (table(0, "note", references={"up": "note"}),)),
    )
    file.show(image("note", "young", {"title": "X"}, born=9), image("note", "other", {"title": "Y"}, born=9))
    file.show(
        image("note", "a", {"up": "b", "title": "x"}, born=1),
        image("note", "b", {"up": "a", "title": "bad"}, born=1),
        image("note", "c", {"title": "y"}, born=3),
    )
    assert file.shown() == {"note": {"young", "c"}}


def test_rows_in_the_way_of_others_go_with_the_name_of_their_parent(tmp_path: Path) -> None:
    file = BoundFile(tmp_path / "app.db", TREE, TREE_PLAN)
    file.show(item("top", 1, alias="old"), item("child", 1, beside="old", name="n"), item("waits", 9, name="m"))
    file.show(item("under", 1, up="child", name="k"), item("waits", 9, name="n", up="top", dots=2))
    assert file.parked() == {("item", "waits"): "unique"}
    file.show(item("top", 1, alias="new", dots=2))
    assert file.parked() == {("item", "child"): "parent", ("item", "under"): "parent"}


def test_a_parent_is_found_behind_a_value_that_its_column_turns_into_another(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        ("CREATE TABLE item(code INT PRIMARY KEY NOT NULL, up INT REFERENCES item(code))",),
        TREE_PLAN,
    )
    file.show(image("item", "child", {"code": 1, "up": "5"}, born=1), image("item", "top", {"code": 5}, born=2))
    assert file.parked() == {}


def test_a_row_that_left_the_file_and_returns_at_once_gets_an_integer_again(tmp_path: Path) -> None:
    file = BoundFile(
        tmp_path / "app.db",
        (
            """CREATE TABLE item(id INTEGER PRIMARY KEY, alias TEXT UNIQUE, beside TEXT REFERENCES item(alias),
                name TEXT UNIQUE)""",
        ),
        BindingPlan("app", (table(0, "item"),)),
    )

    def row(key: str, number: int, born: int, *, dots: int = 1, **fields: str) -> RowImage:
        return image("item", key, {"id": number, **fields}, born=born, dots=dots)

    file.show(row("top", 1, 1, alias="old"), row("child", 2, 1, beside="old", name="n"), row("moves", 3, 9, name="m"))
    file.show(row("moves", 3, 9, beside="old", name="n", dots=2), row("top", 1, 1, alias="old"))
    assert file.parked() == {("item", "moves"): "unique"}
    file.show(row("moves", 3, 9, name="m", dots=3))
    file.show(row("child", 2, 1, beside="old", name="x", dots=2), row("under", 4, 5, beside="old", name="n"))
    file.show(row("moves", 3, 99, beside="new", name="n", dots=4), row("top", 1, 1, alias="new", dots=2))
    assert file.parked() == {("item", "child"): "parent", ("item", "under"): "parent"}
    assert file.rows("SELECT id, name FROM item ORDER BY id") == [(1, None), (3, "n")]
