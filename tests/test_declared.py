"""From the configuration to what the engine is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from peerd import declared
from peerd.config import Settings, load
from peerd.core.tables.changes import Brake

Read = Callable[[str], Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str) -> Settings:
        file = tmp_path / "peerd.toml"
        file.write_text(text)
        return load(file, {"HOME": str(tmp_path)})

    return read


def test_tables_of_a_space_become_wishes(read: Read) -> None:
    settings = read('[[spaces.home.tables]]\ndatabase = "/a/todo.db"\ninclude = ["tasks"]\nmax_deletes = 5\n')
    ((wish, brake),) = declared.bindings(settings, "home")
    assert (wish.database, wish.name, wish.include, wish.suggested) == ("/a/todo.db", "todo", ["tasks"], True)
    assert brake == Brake(5, 20)
    assert declared.bindings(settings, "work") == []


async def test_relays_that_are_switched_on_become_plans(read: Read, tmp_path: Path) -> None:
    (plan,) = declared.relays(read(f'[relay.folder]\npath = "{tmp_path}"\nspaces = ["home"]\nmax_mb = 9\n'))
    assert (plan.name, plan.place, plan.spaces) == ("folder", f"folder {tmp_path}", ("home",))
    assert plan.courier.max_bytes == 9_000_000
    store = plan.open(lambda: None)
    await store.prepare()
    assert await store.lookup(["ab" * 32], contents=False) == {}
    await store.close()


def test_a_relay_that_is_off_is_none(read: Read) -> None:
    assert declared.relays(read('[relay.folder]\npath = "/a"\nenabled = false\n')) == []
    assert declared.relays(read("")) == []
