"""Files of configuration in a folder of their own, read in surroundings that a test chooses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerd.config.places import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def here() -> Surroundings:
    """A user `ann` with nothing in the environment."""
    return Surroundings({}, is_root=False, home=Path("/home/ann"), host_name="kitchen.lan")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of configuration, `peerd.toml` unless named, and give its path."""

    def write(text: str, name: str = "peerd.toml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    return write
