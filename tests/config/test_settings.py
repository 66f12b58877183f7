from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from peerd.config import load
from peerd.config.settings import SECTIONS, Changes, SpaceSettings, TableSettings, declared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from peerd.config.places import Surroundings

STRUCTS = [*SECTIONS.values(), SpaceSettings, TableSettings]


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_field_is_a_declared_setting_with_a_good_default(
    struct: type[msgspec.Struct], here: Surroundings
) -> None:
    settings = declared(struct)
    assert list(settings) == [name for name in struct.__struct_fields__ if struct is TableSettings or name != "tables"]
    for setting in settings.values():
        if not setting.required:
            setting.default_value(here)


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_setting_is_explained_in_whole_sentences(struct: type[msgspec.Struct]) -> None:
    for setting in declared(struct).values():
        assert setting.explanation[0].isupper()
        assert setting.explanation.endswith(".")


@pytest.mark.parametrize("struct", [*SECTIONS.values(), SpaceSettings])
def test_a_default_that_depends_on_the_machine_says_on_what(struct: type[msgspec.Struct], here: Surroundings) -> None:
    for setting in declared(struct).values():
        assert callable(setting.default) == bool(setting.otherwise) == bool(setting.example)
        if setting.example:
            setting.check(setting.example, here)


def test_changes_tell_what_a_reload_can_apply_from_what_needs_a_restart(write: Callable[..., Path]) -> None:
    before = load(write('[log]\nlevel = "info"\n[spaces.home]\nhistory_days = 7'), {})
    text = '[log]\nlevel = "debug"\n[network]\nmdns = false\npeers = ["a:1"]\n[spaces.work]\nhistory_days = 9'
    after = load(write(text), {})
    assert before.changes(after) == Changes(
        live=("network.peers", "log.level", "spaces.home.history_days", "spaces.work.history_days"),
        needs_restart=("network.mdns",),
    )
    assert before.changes(before) == Changes((), ())


def test_a_space_that_no_file_names_has_the_defaults(write: Callable[..., Path]) -> None:
    settings = load(write("[spaces.home]\nhistory_days = 7"), {})
    assert settings.space("home").history_days == 7
    assert settings.space("other").history_days == 30


def test_tables_that_differ_are_bound_at_a_reload(write: Callable[..., Path]) -> None:
    before = load(write(""), {})
    after = load(write('[[spaces.home.tables]]\ndatabase = "/home/ann/todo.db"'), {})
    assert before.changes(after) == Changes(("spaces.home.tables",), ())
