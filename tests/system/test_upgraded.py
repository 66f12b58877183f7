"""After an upgrade, and after going back from one, with a real daemon."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from peerd.store.migrate import migrations
from tests.support.daemons import Device, House

NEWEST = migrations()[-1][0]


def set_version(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


def database(device: Device, space: str) -> Path:
    (name,) = (one for one in (device.state_dir / "spaces").glob("*.name") if one.read_text().strip() == space)
    return name.with_suffix(".db")


def test_a_database_of_a_later_version_is_left_alone_and_said(tmp_path: Path) -> None:
    """The other space goes on, nothing of the file is changed, and the version that wrote it opens it again."""
    with House(tmp_path) as house:
        (desk,) = house.start("desk", mdns=False)
        for space in ("home", "diary"):
            desk.create(space)
            desk.put(space, "notes", "x", {"in": space})
        desk.stop()
        path = database(desk, "home")
        set_version(path, NEWEST + 1)
        content = path.read_bytes()
        desk.start()
        view = next(one for one in desk.call("GET", "status")["spaces"] if one["name"] == "home")
        assert view["state"] == "failed"
        assert f"format {NEWEST + 1}; this peerd knows formats up to {NEWEST}" in view["reason"]
        assert "newer peerd" in view["next_step"]
        refused = desk.run("put", "home", "notes", "y", "{}")
        assert (refused.returncode, "[store-newer]" in refused.stderr) == (1, True)
        desk.put("diary", "notes", "y", {"goes": "on"})
        desk.stop()
        assert path.read_bytes() == content
        set_version(path, NEWEST)
        desk.start()
        assert desk.get("home", "notes", "x") == {"in": "home"}
