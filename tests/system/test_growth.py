"""Months pass within seconds: the log is trimmed, and whoever was away comes back all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.daemons import Device, House, pair, wait_for

# Every second is forty days, and housekeeping is done all the time.
MONTHS = """
from peerd.engine.upkeep import housekeeping
housekeeping.LOOK_S = housekeeping.EVERY_S = 0.2
elapsed_ms = housekeeping.Housekeeping._elapsed_ms
housekeeping.Housekeeping._elapsed_ms = lambda self: elapsed_ms(self) * 40 * 24 * 3600
"""


def log_bytes(device: Device) -> int:
    return int(device.space("home")["sizes"]["log_bytes"])


def holding(device: Device, other: Device) -> dict[str, Any]:
    """What `peerctl members` says of another one."""
    members = device.ctl("members", "home")["members"]
    found: dict[str, Any] = next(one["holding"] for one in members if one["name"] == other.name)
    return found


def test_a_device_comes_back_after_months(tmp_path: Path) -> None:
    """Away, it wrote something itself; at home there were edits, deletes, and records that were born again. A third
    device is about all the time, and takes the log.
    """
    with House(tmp_path) as house:
        kitchen, study, nas = devices = [house.device(name, mdns=False) for name in ("kitchen", "study", "nas")]
        for device in devices:
            device.peers = [other.address for other in devices if other is not device]
            device.start()
        kitchen.create("home")
        pair(kitchen, study, "home")
        pair(kitchen, nas, "home")
        for key in ("kept", "edited here", "deleted", "born again", "edited there"):
            kitchen.put("home", "notes", key, {"text": "first"})
        house.agree("home")
        wait_for(lambda: len(study.linked()) == len(nas.linked()) == 2, "all are linked", devices)

        study.call("POST", "pause")
        study.put("home", "notes", "written away", {"text": "new"})
        study.patch("home", "notes", "edited there", text="away")
        study.stop()
        kitchen.patch("home", "notes", "edited here", text="second")
        for key in ("deleted", "born again", "edited there"):
            kitchen.delete("home", "notes", key)
        nas.wait(lambda: nas.get("home", "notes", "deleted") is None, "it has the deletes")
        nas.put("home", "notes", "born again", {"text": "again"})
        house.agree("home", [kitchen, nas])

        kitchen.stop()
        kitchen.meddle = MONTHS
        kitchen.start()
        kitchen.wait(lambda: log_bytes(kitchen) == 0, "it has let the log go")
        assert not holding(kitchen, study)["active"]
        assert holding(kitchen, nas)["active"]
        kitchen.put("home", "notes", "after that", {"text": "later"})
        nas.wait(lambda: nas.get("home", "notes", "after that"), "it lacks nothing")
        kitchen.stop()
        kitchen.meddle = ""
        nas.stop()
        kitchen.start()
        study.start()
        kitchen.wait(lambda: kitchen.get("home", "notes", "edited there"), "an edit has won over its delete")
        found = house.agree("home", [kitchen, study])["notes"]
        nas.start()
        assert house.agree("home")["notes"] == found

        assert {key: value["text"] for key, value in found.items()} == {
            "kept": "first",
            "edited here": "second",
            "born again": "again",
            "edited there": "away",
            "written away": "new",
            "after that": "later",
        }
        assert study.events("snapshot in place")
        assert not nas.events("snapshot in place")
        study.put("home", "notes", "on", {"text": "and on"})
        house.agree("home")


def told(device: Device, since: str) -> list[dict[str, Any]]:
    """The feed from a token up to now."""
    with device.client() as client:
        return list(client.stream("GET", "/v1/spaces/home/changes", query={"since": since}))


def test_a_smaller_setting_takes_effect_at_a_reload(tmp_path: Path) -> None:
    with House(tmp_path) as house:
        kitchen = house.device("kitchen", mdns=False, more="[spaces.home]\nhistory_days = 3650\n")
        kitchen.meddle = MONTHS.replace("0.2", "3600.0")
        kitchen.start()
        kitchen.create("home")
        for number in range(5):
            kitchen.put("home", "notes", "a", {"n": number})
        assert log_bytes(kitchen) > 0
        token = told(kitchen, "now")[-1]["token"]
        kitchen.put("home", "notes", "b", {"n": 0})
        kitchen.more = "[spaces.home]\nhistory_days = 0\n"
        kitchen.write_config()
        assert kitchen.call("POST", "reload")["changed"] == ["spaces.home.history_days"]
        kitchen.wait(lambda: log_bytes(kitchen) == 0, "it has let the log go")
        assert kitchen.space("home")["sizes"]["history_bytes"] == 0
        assert kitchen.get("home", "notes", "a") == {"n": 4}
        kitchen.stop()
        kitchen.start()
        assert [one["kind"] for one in told(kitchen, token)] == ["reset", "put", "put", "current"]
