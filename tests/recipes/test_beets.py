"""beets, the music library: items, albums, and tables of attributes whose references no schema declares."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

from tests.recipes.pairs import Place, Two, program

FILE = "library.db"
OPTIONS = (
    "--exclude", "migrations",
    "--key", "items=surrogate", "--key", "albums=surrogate",
    "--reference", "items.album_id=albums",
    "--reference", "item_attributes.entity_id=items", "--reference", "album_attributes.entity_id=albums",
    "--key", "item_attributes=content", "--match", "item_attributes=entity_id,key",
    "--key", "album_attributes=content", "--match", "album_attributes=entity_id,key",
)  # fmt: skip


def beet(place: Place, *arguments: str) -> str:
    return place.run(program("beets", "beet"), "-c", "config.yaml", *arguments)


def prepare(machines: Two) -> None:
    for place in machines.places:
        (place.home / "config.yaml").write_text("directory: ~/Music\nlibrary: ~/library.db\nplugins: []\n")


def record(folder: Path, title: str) -> Path:
    """A file with silence; gives its folder."""
    folder.mkdir(parents=True)
    with wave.open(str(folder / f"{title}.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(800))
    return folder


def bring(place: Place, *titles: str) -> None:
    """Import single tracks under these titles."""
    for title in titles:
        folder = record(place.home / "incoming" / title, title)
        beet(place, "import", "-q", "-A", "-c", "-s", "--set", f"title={title}", str(folder / f"{title}.wav"))


def shown(place: Place) -> list[str]:
    return sorted(beet(place, "ls", "-f", "$title/$genres/$mood").split("\n")[:-1])


def test_two_machines_keep_one_library(two: Callable[[str], Two]) -> None:
    machines = two(FILE)
    kitchen, study = machines.places
    prepare(machines)
    bring(kitchen, "one", "two")
    beet(kitchen, "modify", "-y", "-W", "-M", "title:one", "mood=calm")
    beet(study, "ls")
    machines.bind(*OPTIONS)
    machines.show(shown, ["one//calm", "two//$mood"])

    beet(study, "modify", "-y", "-W", "-M", "title:two", "mood=loud", "genres=rock")
    machines.show(shown, ["one//calm", "two/rock/loud"])

    with machines.apart():
        bring(kitchen, "three")
        bring(study, "four")
        beet(kitchen, "modify", "-y", "-W", "-M", "title:three", "mood=k")
        beet(study, "modify", "-y", "-W", "-M", "title:four", "mood=s")
        beet(kitchen, "modify", "-y", "-W", "-M", "title:one", "genres=folk")
        beet(study, "modify", "-y", "-W", "-M", "title:one", "mood=new")
        beet(study, "remove", "-f", "title:two")
    machines.show(shown, ["four//s", "one/folk/new", "three//k"])
    beet(kitchen, "modify", "-y", "-W", "-M", "title:one", "mood!")
    machines.show(shown, ["four//s", "one/folk/$mood", "three//k"])
    orphans = "SELECT count(*) FROM item_attributes WHERE entity_id NOT IN (SELECT id FROM items)"
    assert [machines.ask(place, orphans) for place in machines.places] == [[(0,)], [(0,)]]

    # An album: its items and its attributes refer to numbers that are each machine's own.
    folder = kitchen.home / "incoming" / "second"
    beet(kitchen, "import", "-q", "-A", "-c", "--set", "shelf=top", str(record(folder, "five")))
    in_albums = "SELECT count(*) FROM items JOIN albums ON albums.id = items.album_id"
    machines.show(machines.rows(in_albums), [(1,)])
    machines.show(lambda place: beet(place, "ls", "-a", "-f", "$shelf"), "top\n")
