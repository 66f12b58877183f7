"""`recopy`."""

from __future__ import annotations

import json
from typing import Any

DONE = {"space": "home", "records": 3, "unreadable": 1, "aside": "/state/set-aside/00ff-1.db"}
ASIDE = {"name": "00ff.aside-1", "records": 9, "differing": 3, "unreadable": 0, "damaged": True, "written_ms": 5}


def test_an_old_copy_is_taken_in(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/spaces/home/recopy", DONE)
    got = peerctl("recopy", "home", "--aside", "latest")
    assert got.code == 0
    assert "3 records taken in; the old copy is /state/set-aside/00ff-1.db now" in got.err
    assert "1 record of it cannot be read" in got.err
    assert daemon.bodies("POST") == [{"aside": "latest"}]
    assert json.loads(peerctl("recopy", "home", "--aside", "latest", "--json").out) == DONE


def test_the_copy_of_another_device_is_called_as_it_was_asked_for(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/spaces/home/recopy", {**DONE, "device": "HJC2XS5O-AAAAAAA"})
    got = peerctl("recopy", "home", "--from", "kitchen")
    assert "the copy of kitchen took the place of the one that was here" in got.err


def test_old_copies_are_listed(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", "/v1/spaces/home/asides", {"asides": [ASIDE]})
    got = peerctl("recopy", "home", "--list")
    assert got.code == 0
    assert got.out.split()[:4] == ["00ff.aside-1", "9", "3", "damaged"]
    broken = {**ASIDE, "records": 0, "differing": 0, "written_ms": 0, "cause": "00ff.aside-1 is damaged"}
    daemon.on("GET", "/v1/spaces/home/asides", {"asides": [broken]})
    assert "1970" not in (said := peerctl("recopy", "home", "--list").out)
    assert said.rstrip().endswith("00ff.aside-1 is damaged")
    daemon.on("GET", "/v1/spaces/home/asides", {"asides": []})
    assert "no old copy of home" in peerctl("recopy", "home", "--list").err


def test_which_one_has_to_be_said(daemon: Any, peerctl: Any) -> None:
    got = peerctl("recopy", "home")
    assert (got.code, daemon.bodies("POST")) == (2, [])
    assert "--aside latest" in got.err
