"""newsboat, the feed reader: both machines load the same feeds, and what is read on one is read on the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from tests.recipes.pairs import Place, Two, debian_program

FILE = "cache.db"
TRIES = 20
ITEM = (
    "<item><title>{0}</title><guid>{0}</guid><link>http://127.0.0.1/{0}</link><description>of {0}</description>"
    "<pubDate>Sat, 07 Sep 2024 10:00:00 GMT</pubDate></item>"
)
FEED = (
    '<?xml version="1.0"?><rss version="2.0"><channel><title>News</title><link>http://127.0.0.1/</link>'
    "<description>d</description>{}</channel></rss>"
)
OPTIONS = (
    "--include", "rss_item", "--include", "rss_feed",
    "--key", "rss_item=content", "--match", "rss_item=feedurl,guid", "--key", "rss_feed=natural",
    "--reference", "rss_item.feedurl=rss_feed",
)  # fmt: skip
POLICY = ("--field-policy", "unread=min", "--field-policy", "deleted=max")


class Locked(Exception):
    """Somebody else is writing."""


def newsboat(place: Place, *arguments: str) -> str:
    """Started again where its file is locked: it waits for no lock, and the daemon may be writing just then."""
    command: tuple[str | Path, ...] = (
        debian_program("newsboat"),
        "-u",
        "urls",
        "-c",
        FILE,
        "-C",
        "/dev/null",
        *arguments,
    )
    for _ in range(TRIES):
        with contextlib.suppress(Locked):
            return run(place, *command)
    return run(place, *command)


def run(place: Place, *command: str | Path) -> str:
    try:
        return place.run(*command)
    except AssertionError as failed:
        if "database is locked" in str(failed):
            raise Locked from failed
        raise


def publish(machines: Two, *names: str) -> None:
    feed = machines.house.folder / "feed.xml"
    feed.write_text(FEED.format("".join(ITEM.format(name) for name in names)))
    for place in machines.places:
        (place.home / "urls").write_text(f"file://{feed}\n")


def read(place: Place, *names: str) -> None:
    (place.home / "read").write_text("".join(f"{name}\n" for name in names))
    newsboat(place, "-I", "read")


def shown(place: Place) -> list[str]:
    """What newsboat exports as read."""
    newsboat(place, "-E", "out")
    return sorted((place.home / "out").read_text().split())


def unread(place: Place) -> str:
    return newsboat(place, "-x", "print-unread").strip()


def test_what_is_read_on_one_is_read_on_the_other(two: Callable[[str], Two]) -> None:
    machines = two(FILE)
    kitchen, study = machines.places
    publish(machines, "one", "two", "three")
    for place in machines.places:
        newsboat(place, "-x", "reload")
    read(kitchen, "one")
    # Each machine has a value of its own before they meet. Read beats unread, without asking.
    machines.bind(*OPTIONS, policies={"app.rss_item": POLICY}, second=("--merge",))
    machines.show(shown, ["one"])
    assert kitchen.device.conflicts("home") == []
    read(study, "two")
    machines.show(shown, ["one", "two"])
    assert unread(kitchen) == unread(study) == "1 unread articles"

    with machines.apart():
        publish(machines, "one", "two", "three", "four", "five")
        newsboat(kitchen, "-x", "reload")
        newsboat(study, "-x", "reload")
        read(kitchen, "four")
        read(study, "five")
    machines.show(shown, ["five", "four", "one", "two"])
    assert machines.ask(kitchen, "SELECT count(*), count(DISTINCT guid) FROM rss_item") == [(5, 5)]
    assert kitchen.device.conflicts("home") == study.device.conflicts("home") == []
