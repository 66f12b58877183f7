from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerd.config import load
from peerd.config.settings import TableSettings
from peerd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


LISTEN_ALLOWED = 'a list of "host:port" or "[IPv6]:port" with ports from 0 to 65535'


def problems_of(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return caught.value.problems


def test_without_files_everything_has_its_default(tmp_path: Path) -> None:
    settings = load(None, {"CONFIGURATION_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": "/s"})
    assert settings.device.state_dir == Path("/s")
    assert settings.network.listen == (("0.0.0.0", 7337), ("::", 7337))  # noqa: S104 - the default
    assert settings.network.mdns is True
    assert settings.log.level == "info"
    assert settings.spaces == {}
    assert settings.files == ()


def test_a_file_sets_what_it_names(write: Callable[..., Path]) -> None:
    file = write('[device]\nname = "nas"\nstate_dir = "~/p"\n[network]\npeers = ["nas.lan:7337"]\n')
    settings = load(file, {"HOME": "/home/ann"})
    assert settings.device.name == "nas"
    assert settings.device.state_dir == Path("/home/ann/p")
    assert settings.network.peers == (("nas.lan", 7337),)
    assert settings.files == (file,)


def test_the_environment_names_the_file_and_the_command_line_wins(write: Callable[..., Path]) -> None:
    one, two = write('[device]\nname = "one"', "one.toml"), write('[device]\nname = "two"', "two.toml")
    environ = {"PEERD_CONFIG": str(one)}
    assert load(None, environ).device.name == "one"
    assert load(two, environ).device.name == "two"


def test_later_files_win_key_by_key_in_lexical_order(write: Callable[..., Path]) -> None:
    main = write('[device]\nname = "a"\n[log]\nlevel = "debug"\n[spaces.home]\nhistory_days = 1')
    write('[device]\nname = "z"', "conf.d/20-z.toml")
    write('[device]\nname = "b"\n[log]\nformat = "json"', "conf.d/10-b.toml")
    write('[device]\nname = "not read"', "conf.d/30.toml.off")
    write('[device]\nname = "not read"', "conf.d/.40.toml")
    settings = load(main, {})
    assert (settings.device.name, settings.log.level, settings.log.format) == ("z", "debug", "json")
    assert settings.space("home").history_days == 1
    assert [file.name for file in settings.files] == ["peerd.toml", "10-b.toml", "20-z.toml"]


def test_extra_files_are_read_where_the_default_file_is_missing(write: Callable[..., Path], tmp_path: Path) -> None:
    write('[device]\nname = "b"', "conf.d/10.toml")
    assert load(None, {"CONFIGURATION_DIRECTORY": str(tmp_path)}).device.name == "b"


@pytest.mark.parametrize("by_environment", [False, True])
def test_a_named_file_must_exist(tmp_path: Path, *, by_environment: bool) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(ConfigError, match=f"{missing}: cannot be read: No such file"):
        load(None if by_environment else missing, {"PEERD_CONFIG": str(missing)} if by_environment else {})


def test_all_problems_are_reported_at_once_with_file_key_and_value(write: Callable[..., Path]) -> None:
    main = write('[network]\nlisten = ["nowhere"]\nmdns = "yes"\n[device]\nname = ""\n')
    extra = write('[log]\nlevel = "loud"\n', "conf.d/10.toml")
    assert problems_of(main) == [
        f'{main}: network.listen = ["nowhere"]: must be {LISTEN_ALLOWED}',
        f'{main}: network.mdns = "yes": must be true or false',
        f'{main}: device.name = "": must be 1 to 63 bytes of printable text without spaces at its ends',
        f'{extra}: log.level = "loud": must be "debug", "info", "warning" or "error"',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[netwrk]\nmdns = true", "netwrk = {...}: no such section; did you mean network?"),
        ("zzz = 1", "zzz = 1: no such section"),
        ("[network]\nlisten_on = []", "network.listen_on = []: no such setting; did you mean listen?"),
        ("[network]\nzzz = []", "network.zzz = []: no such setting"),
        ('network = "x"', 'network = "x": must be a section [network]'),
        ("spaces = 3", "spaces = 3: must be sections [spaces.NAME]"),
        ("[spaces]\nhome = 3", "spaces.home = 3: must be a section [spaces.home]"),
        ("[spaces.home]\ndays = 3", "spaces.home.days = 3: no such setting"),
        ("[spaces.home]\nhistory_days = -1", "spaces.home.history_days = -1: must be a whole number of days"),
        ('[spaces."a b"]\nhistory_days = 1', "spaces.\"a b\": the space 'a b' is not"),
    ],
)
def test_a_key_that_would_do_nothing_is_a_problem(write: Callable[..., Path], text: str, problem: str) -> None:
    file = write(text)
    (found,) = problems_of(file)
    assert found.startswith(f"{file}: {problem}")


def test_what_is_wrong_under_a_bad_name_is_told_with_it(write: Callable[..., Path]) -> None:
    file = write('[spaces."a b"]\nhistory_days = -1\ndays = 1')
    name, value, key = problems_of(file)
    assert "is not" in name
    assert 'spaces."a b".history_days = -1: must be a whole number' in value
    assert "no such setting" in key


def test_tables_of_a_space_are_read_with_their_defaults(write: Callable[..., Path]) -> None:
    file = write(
        """
        [[spaces.home.tables]]
        database = "~/.local/share/todo/todo.db"
        [[spaces.home.tables]]
        name = "notes"
        database = "/home/ann/n.sqlite"
        exclude = ["cache"]
        keys = { notes = "surrogate" }
        match = { tags = ["name"] }
        references = { "notes.folder" = "folders" }
        max_deletes = 5
        """
    )
    todo, notes = load(file, {"HOME": "/home/ann"}).space("home").tables
    assert todo == TableSettings(
        Path("/home/ann/.local/share/todo/todo.db"), "todo", (), (), {}, {}, {}, max_deletes=100, max_delete_share=20
    )
    assert (notes.name, notes.database, notes.exclude) == ("notes", Path("/home/ann/n.sqlite"), ("cache",))
    assert (notes.keys, notes.match) == ({"notes": "surrogate"}, {"tags": ("name",)})
    assert (notes.references, notes.max_deletes) == ({"notes.folder": "folders"}, 5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[spaces.home]\ntables = 3", "spaces.home.tables = 3: must be sections [[spaces.home.tables]]"),
        ('[[spaces.home.tables]]\nname = "todo"', "spaces.home.tables: each needs a database"),
        ('[[spaces.home.tables]]\ndatabase = "todo.db"', 'spaces.home.tables.database = "todo.db": must be'),
        (
            '[[spaces.home.tables]]\ndatabase = "/a.db"\nkeys = { t = "natural", u = "surogate" }',
            'spaces.home.tables.keys.u = "surogate": must be "natural", "surrogate" or "content"; did you mean surr',
        ),
        (
            '[[spaces.home.tables]]\ndatabase = "/a.db"\nmatch = { "my tags" = "name" }',
            'spaces.home.tables.match."my tags" = "name": must be a list of names of columns',
        ),
        (
            '[[spaces.home.tables]]\ndatabase = "/a.db"\nkeys = "natural"',
            'spaces.home.tables.keys = "natural": must be { TABLE = CLASS, ... } in which each value is',
        ),
        (
            '[[spaces.home.tables]]\ndatabase = "/a.db"\n[[spaces.home.tables]]\ndatabase = "/x/a.db"',
            'spaces.home.tables.name = "a": two have this name',
        ),
    ],
)
def test_tables_that_make_no_sense_are_a_problem(write: Callable[..., Path], text: str, problem: str) -> None:
    file = write(text)
    (found,) = problems_of(file)
    assert found.startswith(f"{file}: {problem}")


def test_a_syntax_error_names_the_line(write: Callable[..., Path]) -> None:
    file = write("[network]\nlisten = [\n")
    (problem,) = problems_of(file)
    assert problem.startswith(f"{file}: cannot be read: ")
    assert "line" in problem or "end of document" in problem


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[device]\nname = 'a\0b'"])
def test_a_file_of_other_bytes_is_a_problem(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "peerd.toml"
    file.write_bytes(content)
    assert len(problems_of(file)) == 1


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]


def test_a_long_value_is_cut_in_its_problem(write: Callable[..., Path]) -> None:
    file = write(f'[device]\nname = "{"x" * 10_000}"')
    (problem,) = problems_of(file)
    assert len(problem) < 400


def test_a_default_that_cannot_work_is_a_problem_of_its_own(write: Callable[..., Path]) -> None:
    """A runtime directory too deep for a socket: nobody wrote it, so the sentence says to write another."""
    file = write("")
    (problem,) = problems_of(file, {"RUNTIME_DIRECTORY": "/" + "d" * 200})
    assert problem.startswith('default: control.socket = "/ddd')
    assert problem.endswith("; set it in a file")
    file = write('[control]\nsocket = "/run/p.sock"')
    assert load(file, {"RUNTIME_DIRECTORY": "/" + "d" * 200}).control.socket == Path("/run/p.sock")
