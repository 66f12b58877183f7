from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerd.config import load, render
from peerd.config.relay_settings import RELAYS, FolderRelay
from peerd.config.settings import SECTIONS, SpaceSettings, TableSettings, declared

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def test_the_file_that_ships_is_what_the_declarations_say() -> None:
    """Made again by `make generated`."""
    assert (ROOT / "config/peerd.toml").read_text() == render.render_default()


def test_the_reference_is_what_the_declarations_say() -> None:
    """Made again by `make generated`."""
    assert render.render_reference() in (ROOT / "docs/configuration.md").read_text()


def test_the_file_that_ships_changes_nothing(write: Callable[..., Path]) -> None:
    environ = {"HOME": "/home/ann"}
    shipped = load(write(render.render_default()), environ)
    empty = load(write("", "empty.toml"), environ)
    assert shipped.changes(empty) == ((), ())
    assert shipped.spaces == {}


def test_every_setting_can_be_uncommented_and_then_stands_at_its_default(write: Callable[..., Path]) -> None:
    text = re.sub(r"^#(?=[a-z\[])", "", render.render_default(), flags=re.MULTILINE)
    assert {name: set(keys) for name, keys in tomllib.loads(text).items() if name != "spaces"} == {
        **{name: set(declared(struct)) for name, struct in SECTIONS.items()},
        "relay": set(RELAYS),
    }
    settings, defaults = load(write(text), {}), load(write("", "empty.toml"), {})
    different = {name for names in settings.changes(defaults) for name in names}
    depends = {
        f"{name}.{key}" for name, struct in SECTIONS.items() for key, s in declared(struct).items() if s.otherwise
    }
    assert different <= {*depends, "spaces.home.tables", "relay.folder", "relay.cloudkit"}
    folder = settings.relays["folder"]
    assert folder == FolderRelay(Path("/mnt/nas/peerd"), ("*",), enabled=True, gather_s=5, max_mb=1_000)
    assert set(settings.spaces) == {"home"}
    (tables,) = settings.spaces["home"].tables
    assert tables == TableSettings(tables.database, "todo", (), (), {}, {}, {}, 100, 20)
    assert settings.spaces["home"] == SpaceSettings(history_days=30, tables=(tables,))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("config", "docs"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_writing_again_keeps_what_stands_round_the_reference(tree: Path) -> None:
    page = tree / "docs/configuration.md"
    page.write_text(f"before\n{render.BEGIN}\nold\n{render.END}\nafter\n")
    render.write(tree)
    render.write(tree)
    assert (tree / "config/peerd.toml").read_text() == render.render_default()
    assert page.read_text() == (f"before\n{render.BEGIN}\n\n{render.render_reference()}\n{render.END}\nafter\n")


def test_a_page_without_the_marks_is_left_alone(tree: Path) -> None:
    page = tree / "docs/configuration.md"
    page.write_text(f"{render.BEGIN} only\n")
    with pytest.raises(ValueError, match="lacks"):
        render.write(tree)
    assert page.read_text() == f"{render.BEGIN} only\n"
