"""After an upgrade, and after going back from one, with a real daemon."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from peerd.store.migrate import migrations
from tests.support.daemons import Device, House, pair

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


LATER = """
import msgspec, peerd.protocol.codec as codec, peerd.net.link as net
encode, send = codec.encode, net.Link.send

def later(message, request=0):
    kind, number, body = msgspec.msgpack.decode(encode(message, request))
    if isinstance(body, dict):
        body |= {"later": [1, {"x": None}], "zz": b"unknown"}
        if "caps" in body:
            body |= {"v": [1, 9], "caps": [*body["caps"], "later"]}
    return msgspec.msgpack.encode((kind, number, body))

async def with_more(self, frame):
    await send(self, frame)
    if self.subprotocol == net.SYNC:
        await send(self, msgspec.msgpack.encode((200, 0, {"of": "a later version"})))

codec.encode, net.Link.send = later, with_more
"""


def test_a_device_with_a_later_minor_version_of_the_protocol(tmp_path: Path) -> None:
    """It says 1.9, has keys in every message that nobody here knows, and messages of its own between them: both go on
    as if it did not, through pairing, live edits, conflicts, a long catch-up and a removal.
    """
    with House(tmp_path) as house:
        desk, later = house.device("desk", mdns=False), house.device("later", mdns=False, meddle=LATER)
        desk.peers, later.peers = [later.address], [desk.address]
        desk.start()
        later.start()
        desk.create("home")
        pair(desk, later, "home")
        for number in range(20):
            desk.put("home", "notes", f"d{number}", {"n": number})
            later.put("home", "notes", f"l{number}", {"n": number, "text": "x" * 5_000})
        house.agree("home")
        later.stop()
        desk.patch("home", "notes", "d1", n="desk")
        for start in range(0, 3_000, 500):
            changes = [
                {"kind": "put", "collection": "many", "key": f"{start + n:05}", "value": {"n": n}} for n in range(500)
            ]
            desk.call("POST", "spaces", "home", "transactions", body={"changes": changes})
        desk.stop()
        later.start()
        later.patch("home", "notes", "d1", n="later")
        desk.start()
        assert len(house.agree("home")["many"]) == 3_000
        assert len(desk.conflicts("home")) == 1
        assert "unsupported" not in desk.log.read_text()
        desk.call("DELETE", "spaces", "home", "members", later.id)
        later.wait(lambda: "was removed" in later.space("home")["reason"], "it hears of its removal")
