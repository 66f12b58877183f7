"""Backups over the socket."""

from __future__ import annotations

import json
from typing import Any

import pytest


async def test_a_backup_is_a_stream_that_ends_with_what_was_made(talk: Any, service: Any) -> None:
    answer = await talk.ask("POST", "/v1/backups", {"path": "/mnt/backup", "keys": True})
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert lines[0] == {"space": "home", "copied_bytes": 1, "all_bytes": 2}
    assert lines[1]["made"]["path"] == "/mnt/backup"
    assert service.calls == [("back_up", "/mnt/backup", True)]


@pytest.mark.parametrize("path", ["backup", "", "/a\0b", "/" + "x" * 5000])
async def test_only_an_absolute_path_is_one(talk: Any, service: Any, path: str) -> None:
    (await talk.ask("POST", "/v1/backups", {"path": path})).problem(400, "bad-body")
    assert service.calls == []
