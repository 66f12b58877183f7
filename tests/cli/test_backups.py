"""`backup`, as far as it only asks; what it and `restore` do is in tests/system/test_backup.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MADE = {
    "made": {
        "path": "/mnt/b",
        "keys": False,
        "backup": {
            "spaces": [{"name": "home"}],
            "lacking": [{"name": "old", "reason": "damaged", "next_step": "look"}],
        },
    }
}


def test_a_space_that_is_not_in_it_is_told_and_counts(daemon: Any, peerctl: Any) -> None:
    """With the exit code of what needs a person; a script sees it too."""
    daemon.on_stream("POST", "/v1/backups", {"space": "home", "copied_bytes": 1, "all_bytes": 2}, MADE)
    got = peerctl("backup", "/mnt/b")
    assert got.code == 4
    assert "backed up 1 space to /mnt/b" in got.err
    assert "old is not in it: damaged\n  next: look" in got.err
    assert json.loads(peerctl("backup", "/mnt/b", "--json").out.splitlines()[-1]) == MADE


def test_the_daemon_gets_an_absolute_path(daemon: Any, peerctl: Any) -> None:
    """It has another working directory. Keys only if they are asked for."""
    daemon.on_stream("POST", "/v1/backups", MADE)
    peerctl("backup", "b")
    peerctl("backup", "b", "--with-keys")
    sent = daemon.bodies("POST")
    assert [Path(one["path"]).is_absolute() for one in sent] == [True, True]
    assert [one["keys"] for one in sent] == [False, True]


def test_a_daemon_that_goes_away_made_no_backup(daemon: Any, peerctl: Any) -> None:
    daemon.on_stream("POST", "/v1/backups", {"space": "home"})
    got = peerctl("backup", "/mnt/b")
    assert (got.code, "[connection-lost]" in got.err) == (3, True)


def test_a_restore_of_nothing_says_so(peerctl: Any, tmp_path: Path) -> None:
    """It needs no daemon."""
    got = peerctl("restore", str(tmp_path))
    assert (got.code, "[backup-not-found]" in got.err) == (1, True)
