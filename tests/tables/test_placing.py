"""Which records have rows: greedy placement, as a function of what the space has."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from peerd.core.tables.changes import RowImage
from peerd.core.tables.plans import BindingPlan
from tests.support.table_space import BoundFile, Oracle, image, table

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
