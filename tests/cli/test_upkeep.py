"""`reload`, `pause`, `resume` and `explain`; what `doctor` finds is in test_checkup."""

from __future__ import annotations

import json
from typing import Any

from peerd.cli.codes import TEXTS


def test_reload_names_what_took_effect_and_what_waits(daemon: Any, peerctl: Any) -> None:
    done = {"changed": ["log.level"], "needs_restart": ["control.socket"]}
    daemon.on("POST", "/v1/reload", done)
    assert peerctl("reload") == (0, "", "in effect now: log.level\nafter a restart: control.socket\n")
    assert json.loads(peerctl("reload", "--json").out) == done
    daemon.on("POST", "/v1/reload", {"changed": [], "needs_restart": []})
    assert peerctl("reload").err == "nothing in effect has changed\n"


def test_a_bad_configuration_is_told_with_all_its_problems(daemon: Any, peerctl: Any) -> None:
    """Every problem is on a line of its own, escaped like everything that comes from a file."""
    document = {
        "code": "bad-config",
        "detail": "a.toml: x\nb.toml: \x1b[0m",
        "problems": ["a.toml: x", "b.toml: \x1b[0m"],
    }
    daemon.on("POST", "/v1/reload", document, status=422)
    got = peerctl("reload")
    assert got.code == 1
    assert got.err.splitlines()[:2] == ["peerctl: a.toml: x", "  b.toml: \\x1b[0m [bad-config]"]


def test_pause_and_resume(daemon: Any, peerctl: Any) -> None:
    for name, word in (("pause", "paused"), ("resume", "resumed")):
        daemon.on("POST", f"/v1/{name}", None, status=204)
        got = peerctl(name)
        assert (got.code, got.out) == (0, "")
        assert "other devices again" in got.err
        assert json.loads(peerctl(name, "--json").out) == {word: True}


def test_explain_needs_no_daemon(peerctl: Any) -> None:
    got = peerctl("explain", "precondition-failed", "--socket", "/nowhere")
    assert (got.code, got.out) == (0, TEXTS["precondition-failed"] + "\n")
    assert json.loads(peerctl("explain", "usage", "--json").out) == {"code": "usage", "text": TEXTS["usage"]}


def test_explain_lists_all_codes(peerctl: Any) -> None:
    assert len(peerctl("explain").out.splitlines()) == len(TEXTS)
    assert len(json.loads(peerctl("explain", "--json").out)["codes"]) == len(TEXTS)


def test_a_code_that_does_not_exist_is_misuse(peerctl: Any) -> None:
    got = peerctl("explain", "no\x07such")
    assert (got.code, got.out) == (2, "")
    assert "there is no error code no\\x07such" in got.err
