"""buku, the bookmark manager: one table, whose numbers it moves when a bookmark is deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.recipes.pairs import Place, Two, program

FILE = ".local/share/buku/bookmarks.db"
OPTIONS = ("--key", "bookmarks=content", "--match", "bookmarks=URL")


def buku(place: Place, *arguments: str) -> str:
    return place.run(program("buku", "buku"), "--nostdin", "--nc", "--np", *arguments)


def add(place: Place, name: str, tags: str = "all") -> None:
    buku(place, "--offline", "--add", f"http://example.org/{name}", tags, "--title", name)


def number(place: Place, name: str) -> str:
    (found,) = [one for one in listed(place) if one["title"] == name]
    return str(found["index"])


def listed(place: Place) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(buku(place, "--print", "--json") or "[]")
    return found


def shown(place: Place) -> list[tuple[str, str, str]]:
    return sorted((one["uri"].rsplit("/", 1)[1], one["title"], one["tags"]) for one in listed(place))


def test_two_machines_keep_bookmarks(two: Callable[[str], Two]) -> None:
    machines = two(FILE)
    kitchen, study = machines.places
    add(kitchen, "a", "fruit,red")
    add(kitchen, "b")
    add(kitchen, "c")
    add(study, "d")
    add(study, "b", "all")
    first, second = machines.bind(*OPTIONS, second=("--merge",))
    assert (first["first"], second["first"]) == ("harvest", "merge")
    machines.show(shown, [("a", "a", "fruit,red"), ("b", "b", "all"), ("c", "c", "all"), ("d", "d", "all")])

    # buku moves its last bookmark into the gap that a delete leaves: rows change their integers.
    buku(kitchen, "--tacit", "--delete", number(kitchen, "a"))
    machines.show(shown, [("b", "b", "all"), ("c", "c", "all"), ("d", "d", "all")])
    buku(study, "--tacit", "--delete", number(study, "d"))
    machines.show(shown, [("b", "b", "all"), ("c", "c", "all")])

    with machines.apart():
        add(kitchen, "e", "new")
        add(study, "e", "new")
        add(study, "f")
        buku(kitchen, "--update", number(kitchen, "b"), "--title", "B")
        buku(study, "--update", number(study, "b"), "--tag", "+", "blue")
        buku(study, "--tacit", "--delete", number(study, "c"))
        buku(kitchen, "--tacit", "--replace", "new", "newer")
    expected = [("b", "B", "all,blue"), ("e", "e", "newer"), ("f", "f", "all")]
    machines.until(
        lambda: {one[0] for one in shown(kitchen)} == {one[0] for one in shown(study)} == {"b", "e", "f"}, "same"
    )
    machines.settle()
    assert shown(kitchen) == shown(study)
    assert [one for one in shown(kitchen) if one[0] != "e"] == [one for one in expected if one[0] != "e"]
    assert "example.org/f" in buku(kitchen, "--sall", "f")
