"""`status`, `peers` and `device`: every word of them, on a terminal and off it."""

from __future__ import annotations

import copy
import json
import re
import time
from typing import Any

import pytest

OWN = "KITCHEN-AAAAAAB-BBBBBBB-CCCCCCC-DDDDDDD-EEEEEEE-FFFFFFF-GGGGGGG"
NAS = "NASAAAA-NASBBBB-NASCCCC-NASDDDD-NASEEEE-NASFFFF-NASGGGG-NASHHHH"
PHONE = "PHONEAA-PHONEBB-PHONECC-PHONEDD-PHONEEE-PHONEFF-PHONEGG-PHONEHH"

IN_SYNC = {"device": NAS, "name": "nas", "state": "in sync", "reason": "", "next_step": "", "behind": 0, "ahead": 0}
OFFLINE = {
    "device": PHONE,
    "name": "phone",
    "state": "offline",
    "reason": "not found: no announcement since yesterday",
    "next_step": "switch it on",
    "behind": None,
    "ahead": 1204,
    "since_ms": 1_700_000_000_000,
}
SPACE: dict[str, Any] = {
    "name": "home",
    "id": "00ff" * 8,
    "state": "in sync",
    "records": 1204,
    "conflicts": 0,
    "parked": 0,
    "clock": {"aa" * 16: 7},
    "digest": "0123456789abcdef0123456789abcdef",
    "peers": [{**IN_SYNC, "since_ms": 1_700_000_000_000}],
    "reason": "",
    "next_step": "",
}
WELL: dict[str, Any] = {
    "version": "1.2",
    "device": {"id": OWN, "name": "kitchen", "state": "running", "reason": "", "next_step": ""},
    "spaces": [SPACE],
    "since_ms": 1_700_000_000_000,
}


def changed(**places: Any) -> dict[str, Any]:
    """The well-being with members of the first space, or of the device, replaced."""
    status = copy.deepcopy(WELL)
    status["device"] |= places.pop("device", {})
    status["spaces"][0] |= places
    return status


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_json_is_what_the_daemon_said(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", "/v1/status", WELL)
    for argv in (("--json", "status"), ("status", "--json")):
        got = peerctl(*argv)
        assert (got.code, json.loads(got.out), got.err) == (0, WELL, "")


def test_off_a_terminal_every_line_says_of_what_it_speaks(daemon: Any, peerctl: Any) -> None:
    """Device, space and peers, one line each, tabs between, reason and next step at the end."""
    daemon.on("GET", "/v1/status", changed(peers=[*SPACE["peers"], OFFLINE], conflicts=2))
    got = peerctl("status")
    assert got.out.splitlines() == [
        f"device\tkitchen\t{OWN}\trunning\t\t",
        f"space\thome\t{'00ff' * 8}\tin sync\t1204\t2\t0\t0123456789abcdef0123456789abcdef\t\t",
        f"peer\thome\tnas\t{NAS}\tin sync\t0\t0\t2023-11-14 22:13:20\t\t",
        f"peer\thome\tphone\t{PHONE}\toffline\t\t1204\t2023-11-14 22:13:20\t{OFFLINE['reason']}\tswitch it on",
    ]


def test_on_a_terminal_a_table_with_what_to_do(daemon: Any, on_terminal: Any) -> None:
    since_ms = time.time() * 1000 - (5 * 24 + 3.5) * 3_600_000
    peers = [{**one, "since_ms": since_ms} for one in (IN_SYNC, OFFLINE)]
    daemon.on("GET", "/v1/status", changed(peers=peers, conflicts=1, parked=2))
    got = on_terminal("status")
    assert plain(got.out) == (
        "kitchen  KITCHENA  running  peerd 1.2\n"
        "\n"
        "home  in sync  1,204 records  1 conflict  2 parked  digest 0123456789abcdef\n"
        "PEER   DEVICE    STATE    SINCE        WE LACK  IT LACKS\n"
        "nas    NASAAAAN  in sync  for 5 d 3 h  0        0\n"
        "phone  PHONEAAP  offline  for 5 d 3 h  ?        1,204\n"
        "  phone: not found: no announcement since yesterday\n"
        "  phone: next: switch it on\n"
    )
    assert "\x1b[32min sync\x1b[0m" in got.out
    assert "\x1b[33moffline\x1b[0m" in got.out


def test_a_copy_that_cannot_be_opened_is_not_called_empty(daemon: Any, on_terminal: Any) -> None:
    gone = changed(state="failed", records=0, digest="", peers=[], reason="it is damaged", next_step="keep it")
    daemon.on("GET", "/v1/status", gone)
    got = on_terminal("status")
    assert got.code == 4
    assert plain(got.out).splitlines()[2:] == ["home  failed", "  it is damaged", "  next: keep it"]


def test_colour_can_be_declined_on_a_terminal(daemon: Any, on_terminal: Any) -> None:
    daemon.on("GET", "/v1/status", WELL)
    assert "\x1b[" not in on_terminal("status", "--no-color").out
    assert "\x1b[" not in on_terminal("status", env={"NO_COLOR": "1"}).out


def test_a_daemon_without_spaces_says_how_to_begin(daemon: Any, on_terminal: Any) -> None:
    daemon.on("GET", "/v1/status", {**WELL, "spaces": []})
    assert "peerctl space create NAME" in on_terminal("status").out


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (WELL, 0),
        (changed(conflicts=3), 5),
        (changed(reason="the disk is full", next_step="make room", state="blocked"), 4),
        (changed(device={"reason": "the clock stands still"}), 4),
        (changed(reason="nas: refused", conflicts=3), 4),
        (changed(reason="no member has answered yet", next_step="wait", state="waiting"), 0),
        (changed(peers=[OFFLINE]), 0),
        (changed(peers=[OFFLINE], conflicts=3), 5),
        (changed(peers=[{**IN_SYNC, "state": "syncing", "behind": 5}]), 0),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_the_exit_code_tells_well_degraded_and_conflicts_apart(
    daemon: Any, peerctl: Any, status: dict[str, Any], code: int, flags: tuple[str, ...]
) -> None:
    """A reason of the device or a space is 4, whatever else there is; open conflicts alone are 5; the rest is 0."""
    daemon.on("GET", "/v1/status", status)
    assert peerctl("status", *flags).code == code


def test_a_peers_name_cannot_command_the_terminal(daemon: Any, on_terminal: Any, peerctl: Any) -> None:
    hostile = "nas\x1b]0;owned\x07\u202e\nspace\tfake"
    daemon.on("GET", "/v1/status", changed(name=hostile, peers=[{**OFFLINE, "name": hostile, "reason": hostile}]))
    for got in (on_terminal("status", "--no-color"), peerctl("status"), peerctl("status", "--json")):
        assert not set(got.out) & {"\x1b", "\x07", "\u202e"}
    assert len(peerctl("status").out.splitlines()) == 3
    assert json.loads(peerctl("status", "--json").out)["spaces"][0]["name"] == hostile


PEERS = {
    "peers": [
        {
            "device": NAS,
            "name": "nas",
            "state": "linked",
            "reason": "",
            "next_step": "",
            "addresses": ["192.0.2.7:7337", "[fe80::1%eth0]:7337"],
            "spaces": ["home", "work"],
            "version": "1.2",
            "since_ms": 1_700_000_000_000,
        },
        {"device": PHONE, "name": "phone", "state": "refused", "reason": "it does not know us", "next_step": "pair"},
    ]
}


def test_peers_lists_addresses_spaces_and_reasons(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    daemon.on("GET", "/v1/peers", PEERS)
    assert json.loads(peerctl("peers", "--json").out) == PEERS
    assert peerctl("peers").out == (
        f"nas\t{NAS}\tlinked\t192.0.2.7:7337 [fe80::1%eth0]:7337\thome work\t2023-11-14 22:13:20\t\t\n"
        f"phone\t{PHONE}\trefused\t\t\t\tit does not know us\tpair\n"
    )
    shown = on_terminal("peers", "--no-color").out.splitlines()
    assert shown[0].split() == ["PEER", "DEVICE", "STATE", "ADDRESSES", "SPACES", "SINCE"]
    assert shown[-2:] == ["  phone: it does not know us", "  phone: next: pair"]


def test_peers_says_which_configured_address_leads_to_nobody(daemon: Any, peerctl: Any) -> None:
    astray = {"address": "nas:7337", "reason": "There is no address for nas:7337.", "next_step": "Check the name."}
    daemon.on("GET", "/v1/peers", {"peers": [], "astray": [astray]})
    assert peerctl("peers").err == (
        "no other device yet\nnetwork.peers: nas:7337 leads to no member: There is no address for nas:7337.\n"
        "  next: Check the name.\n"
    )


def test_no_peers_is_said_on_stderr(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", "/v1/peers", {"peers": []})
    assert peerctl("peers") == (0, "", "no other device yet\n")


def test_device_prints_the_id_alone(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", "/v1/status", WELL)
    assert peerctl("device") == (0, OWN + "\n", "")
    assert json.loads(peerctl("device", "--json").out)["id"] == OWN


def test_everything_that_is_wrong_with_the_device_is_shown(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    found = changed()
    further = [{"reason": "no descriptors", "next_step": "raise the limit"}]
    device = {**found["device"], "state": "degraded", "reason": "no socket", "next_step": "free it", "further": further}
    daemon.on("GET", "/v1/status", {**found, "device": device})
    assert "  no socket\n  next: free it\n  no descriptors\n  next: raise the limit\n" in plain(
        on_terminal("status").out
    )
    line = f"further\t{device['name']}\tno descriptors\traise the limit"
    assert line in peerctl("status").out.splitlines()
    findings = [line for line in peerctl("doctor").out.splitlines() if line.startswith("problem\tdevice\t")]
    assert findings == [
        "problem\tdevice\tdegraded: no socket\tfree it",
        "problem\tdevice\tdegraded: no descriptors\traise the limit",
    ]


PARKED = {
    "binding": "todo", "table": "tasks", "code": "parked-unique", "rows": 2,
    "reason": "2 rows of tasks are parked", "next_step": "rename one",
}  # fmt: skip
HELD = {
    "binding": "todo", "table": "tasks", "code": "held", "rows": 9, "reason": "9 rows are held", "next_step": "decide",
}  # fmt: skip


def test_what_there_is_to_say_of_tables_is_said_once(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    found = changed(state="degraded", reason="tables todo: 9 rows are held", next_step="decide", tables=[HELD, PARKED])
    daemon.on("GET", "/v1/status", found)
    lines = plain(on_terminal("status").out).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("home"))
    assert lines[start + 1 : start + 5] == [
        "  tables todo: 9 rows are held",
        "  next: decide",
        "  tables todo: 2 rows of tasks are parked",
        "  next: rename one",
    ]
    got = peerctl("status")
    assert got.code == 4
    assert "tables\thome\ttodo\ttasks\theld\t9\t9 rows are held\tdecide" in got.out.splitlines()
    assert "tables\thome\ttodo\ttasks\tparked-unique\t2\t2 rows of tasks are parked\trename one" in got.out.splitlines()


SIZES = {
    "database_bytes": 20 << 20,
    "free_bytes": 1 << 20,
    "wal_bytes": 0,
    "wal_held": False,
    "log_bytes": 5_000_000,
    "history_bytes": 100,
}


def test_sizes_are_told(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    daemon.on("GET", "/v1/status", changed(sizes=SIZES))
    assert "sizes\thome\t20971520\t1048576\t0\t5000000\t100\t\n" in peerctl("status").out
    assert "20 MiB on disk, log 4.8 MiB, history 100 B, free 1.0 MiB, journal 0 B" in plain(on_terminal("status").out)


def test_a_journal_that_is_held_is_told(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    """All is well otherwise: nobody but whoever reads the file can end that."""
    daemon.on("GET", "/v1/status", changed(sizes={**SIZES, "wal_held": True}))
    assert "\t100\theld\n" in peerctl("status").out
    shown = on_terminal("status")
    assert shown.code == 0
    assert "something goes on reading" in plain(shown.out)
    assert "lsof" in plain(shown.out)


def test_parked_rows_wait_for_a_person_as_conflicts_do(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", "/v1/status", changed(tables=[PARKED]))
    assert peerctl("status").code == 5
    assert json.loads(peerctl("status", "--json").out)["spaces"][0]["tables"] == [PARKED]


def test_a_space_that_its_disk_stopped_says_when_it_is_tried_again(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    view = changed(state="stopped", reason="The disk failed.", next_step="Look.", retry={"tries": 3, "in_s": 41.7})
    daemon.on("GET", "/v1/status", view)
    assert "retry\thome\t3\t41.7\n" in peerctl("status").out
    assert "  tried 3 times since then; again in 42 s\n" in plain(on_terminal("status").out)
