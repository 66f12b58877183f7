"""Small files beside a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerd.store import beside


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"one", b"another"):
        beside.write(path, data)
        assert beside.read(path) == data
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    beside.write(path, b"one")
    (tmp_path / "file.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        beside.write(path, b"another")
    assert beside.read(path) == b"one"
