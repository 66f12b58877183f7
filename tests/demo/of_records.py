"""Records, as programs write them that do use the socket."""

from __future__ import annotations

import json
from pathlib import Path

from tests.demo.devices import DemoFailed, Device, in_sync, say, wait_for

RECORDS = 1_200


def play(devices: list[Device], folder: Path) -> None:
    share(devices, folder)
    disagree(devices)
    agree(devices)


def data_set(path: Path) -> None:
    """A library: as large as a real one at home, the same at every run."""
    subjects = ("history", "botany", "cooking", "poetry", "astronomy", "travel")
    with path.open("w") as out:
        for number in range(RECORDS):
            book = {
                "id": f"book-{number:04}",
                "title": f"The {subjects[number % 6].title()} of Room {number // 6 + 1}",
                "subject": subjects[number % 6],
                "shelf": number % 17,
                "lent_to": None,
                "price": 5 + number % 40 + 0.5,
            }
            out.write(json.dumps(book) + "\n")


def share(devices: list[Device], folder: Path) -> None:
    kitchen, _, laptop = devices
    books = folder / "books.ndjson"
    data_set(books)
    before = kitchen.space()["records"]
    kitchen.ctl("import", "home", "books", str(books), "--key", "id")
    wait_for(
        lambda: all(device.space()["records"] == before + RECORDS for device in devices) and in_sync(devices),
        "all have the books",
    )
    say(f"programs may also use records: {RECORDS} books, imported on kitchen, are on all three with equal digests")
    title = laptop.ctl("get", "home", "books", "book-0042")["value"]["title"]
    say(f"laptop reads book-0042: {title}")


def disagree(devices: list[Device]) -> None:
    kitchen, office, laptop = devices
    laptop.ctl("pause")
    wait_for(lambda: not any(peer["state"] == "in sync" for peer in laptop.space()["peers"]), "laptop is cut off")
    kitchen.ctl("patch", "home", "books", "book-0001", '{"shelf": 3}')
    laptop.ctl("patch", "home", "books", "book-0001", '{"price": 99.5}')
    office.ctl("patch", "home", "books", "book-0002", '{"lent_to": "Ada"}')
    laptop.ctl("patch", "home", "books", "book-0002", '{"lent_to": "Grace"}')
    say("laptop is cut off; it edits another field of book-0001 than kitchen, and the same of book-0002 as office")


def agree(devices: list[Device]) -> None:
    kitchen, office, laptop = devices
    laptop.ctl("resume")
    wait_for(lambda: in_sync(devices), "all agree again")
    book = office.ctl("get", "home", "books", "book-0001")["value"]
    if (book["shelf"], book["price"]) != (3, 99.5):
        raise DemoFailed(f"an edit of book-0001 was lost: {book}")
    say("laptop is back: book-0001 has both edits, of book-0002 both values are listed as a conflict")
    (conflict,) = office.ctl("conflicts", "home")["conflicts"]
    office.ctl("resolve", "home", conflict["id"], "--value", '"Ada, then Grace"')
    wait_for(lambda: in_sync(devices) and not any(device.space()["conflicts"] for device in devices), "settled")
    if kitchen.ctl("get", "home", "books", "book-0002")["value"]["lent_to"] != "Ada, then Grace":
        raise DemoFailed("the resolution did not travel")
    say("office settles it, and nothing is open anywhere")
