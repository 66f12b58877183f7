"""From files to `Settings`: the main file, then `conf.d/*.toml` beside it in lexical order; later keys win.

Nothing stops at the first problem. Each one names file, key and value and says what is allowed, and all are
raised together. A key that does nothing is a problem too: it is a misspelling, or a promise nobody keeps.
"""

from __future__ import annotations

import difflib
import grp
import json
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from peerd.config.checks import ByName, OneOf
from peerd.config.places import Surroundings
from peerd.config.relay_settings import RELAYS
from peerd.config.settings import (
    SECTIONS,
    Control,
    Device,
    Log,
    Network,
    Settings,
    SpaceSettings,
    TableSettings,
    declared,
)
from peerd.core.names import binding_name, check_space_name
from peerd.errors import ConfigError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from peerd.config.checks import Check

Section = TypeVar("Section", bound=msgspec.Struct)

_SHOWN_CHARS = 80


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The configuration of `path`, else of $PEERD_CONFIG, else of the default place, where nothing need be.

    Raises:
        ConfigError: with every problem found.

    """
    here = Surroundings.of_this_process(environ)
    reader = _Reader(here)
    if path is None and environ.get("PEERD_CONFIG"):
        path = Path(environ["PEERD_CONFIG"])
    reader.read_all(path or here.config_file(), must_exist=path is not None)
    return reader.settings()


def lacking(settings: Settings) -> list[str]:
    """What a good configuration names and this machine does not have now. It may come, so a start does not fail for it.

    What takes longer to find out, or may differ where the daemon runs, is said by the daemon.
    """
    group = settings.control.write_group
    try:
        if group:
            grp.getgrnam(group)
    except KeyError:
        return [f"control.write_group = {_shown(group)}: there is no such group on this machine: groupadd {group}"]
    return []


class _Reader:
    """Gathers checked values by (section, key) and problems, file after file."""

    def __init__(self, here: Surroundings) -> None:
        self._here = here
        self._files: list[Path] = []
        self._problems: list[str] = []
        self._values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        self._spaces: dict[str, dict[str, Any]] = {}
        self._relays: dict[str, dict[str, Any]] = {}

    def read_all(self, main: Path, *, must_exist: bool) -> None:
        self._read(main, must_exist=must_exist)
        for extra in sorted((main.parent / "conf.d").glob("[!.]*.toml")):
            self._read(extra, must_exist=True)

    def settings(self) -> Settings:
        device, network = self._complete("device", Device), self._complete("network", Network)
        control, log = self._complete("control", Control), self._complete("log", Log)
        relays = {name: self._relay(name, given) for name, given in self._relays.items()}
        if device is None or network is None or control is None or log is None or self._problems:
            raise ConfigError(self._problems)
        plain = SpaceSettings(**self._defaults(SpaceSettings))
        return Settings(
            device=device,
            network=network,
            control=control,
            log=log,
            spaces={name: msgspec.structs.replace(plain, **given) for name, given in self._spaces.items()},
            space_default=plain,
            relays={name: relay for name, relay in relays.items() if relay is not None},
            files=tuple(self._files),
        )

    # --- one file -------------------------------------------------------------------------------------

    def _read(self, file: Path, *, must_exist: bool) -> None:
        try:
            with file.open("rb") as opened:
                tree = tomllib.load(opened)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            if isinstance(error, FileNotFoundError) and not must_exist:
                return
            reason = error.strerror if isinstance(error, OSError) else error
            self._problems.append(f"{file}: cannot be read: {reason}")
            return
        self._files.append(file)
        for name, content in tree.items():
            if name == "spaces":
                self._read_spaces(file, content)
            elif name in SECTIONS:
                self._read_section(file, name, SECTIONS[name], content, self._values[name])
            elif name == "relay":
                self._read_relays(file, content)
            else:
                hint = _did_you_mean(name, [*SECTIONS, "spaces", "relay"])
                self._problems.append(f"{file}: {name} = {_shown(content)}: no such section{hint}")

    def _read_spaces(self, file: Path, content: object) -> None:
        if not isinstance(content, dict):
            self._problems.append(f"{file}: spaces = {_shown(content)}: must be sections [spaces.NAME]")
            return
        for name, given in content.items():
            try:
                check_space_name(name)
            except UserError as error:
                self._problems.append(f"{file}: spaces.{_key(name)}: {error}")
                into: dict[str, Any] = {}  # for nobody; but what is wrong inside is told along with it
            else:
                into = self._spaces.setdefault(name, {})
            where, rest = f"spaces.{_key(name)}", given
            if isinstance(given, dict) and "tables" in given:
                into["tables"] = self._read_tables(file, f"{where}.tables", given["tables"])
                rest = {key: value for key, value in given.items() if key != "tables"}
            self._read_section(file, where, SpaceSettings, rest, into)

    def _read_relays(self, file: Path, content: object) -> None:
        if not isinstance(content, dict):
            self._problems.append(f"{file}: relay = {_shown(content)}: must be sections [relay.NAME]")
            return
        for name, given in content.items():
            if name not in RELAYS:
                hint = _did_you_mean(name, RELAYS)
                self._problems.append(f"{file}: relay.{_key(name)}: no such relay{hint}; there are {', '.join(RELAYS)}")
                continue
            self._read_section(file, f"relay.{name}", RELAYS[name], given, self._relays.setdefault(name, {}))

    def _relay(self, name: str, given: dict[str, Any]) -> msgspec.Struct | None:
        """A relay with its defaults; None, and a problem, if something is missing that has none."""
        lacking = [key for key, setting in declared(RELAYS[name]).items() if setting.required and key not in given]
        if not any(problem.startswith(f"{file}: relay.{name}") for file in self._files for problem in self._problems):
            self._problems += [f"{self._files[-1]}: relay.{name}: {key} is missing" for key in lacking]
        return None if lacking else RELAYS[name](**self._defaults(RELAYS[name], given, f"relay.{name}"))

    def _read_tables(self, file: Path, where: str, content: object) -> tuple[TableSettings, ...]:
        if not isinstance(content, list):
            self._problems.append(f"{file}: {where} = {_shown(content)}: must be sections [[{where}]]")
            return ()
        found: dict[str, TableSettings] = {}
        for given in content:
            values: dict[str, Any] = {}
            self._read_section(file, where, TableSettings, given, values)
            if not isinstance(given, dict):
                continue
            if "database" not in given:
                self._problems.append(f"{file}: {where}: each needs a database")
            if "database" not in values:
                continue
            values.setdefault("name", binding_name(values["database"].name))
            one = TableSettings(**self._defaults(TableSettings, values, where))
            if one.name in found:
                self._problems.append(f"{file}: {where}.name = {_shown(one.name)}: two have this name")
            found[one.name] = one
        return tuple(found.values())

    def _read_section(
        self, file: Path, name: str, struct: type[msgspec.Struct], content: object, into: dict[str, Any]
    ) -> None:
        if not isinstance(content, dict):
            self._problems.append(f"{file}: {name} = {_shown(content)}: must be a section [{name}]")
            return
        settings = declared(struct)
        for key, value in content.items():
            where = f"{file}: {name}.{_key(key)} = {_shown(value)}"
            if key not in settings:
                self._problems.append(f"{where}: no such setting{_did_you_mean(key, settings)}")
                continue
            try:
                into[key] = settings[key].check(value, self._here)
            except ValueError:
                culprits = list(_culprits(value, settings[key].check, self._here))
                self._problems += [f"{file}: {name}.{_key(key)}.{one}" for one in culprits]
                if not culprits:
                    self._problems.append(f"{where}: must be {settings[key].check.allowed}")

    # --- defaults -------------------------------------------------------------------------------------

    def _complete(self, name: str, struct: type[Section]) -> Section | None:
        values = self._defaults(struct, self._values[name], name)
        return struct(**values) if len(values) == len(declared(struct)) else None

    def _defaults(
        self, struct: type[msgspec.Struct], given: Mapping[str, Any] | None = None, name: str = ""
    ) -> dict[str, Any]:
        values = dict(given or {})
        for key, setting in declared(struct).items():
            if key in values:
                continue
            try:
                values[key] = setting.default_value(self._here)
            except ValueError:
                # Only what the environment decides can fail: a home directory too deep for a socket.
                value = _shown(setting.default(self._here))
                self._problems.append(
                    f"default: {name}.{key} = {value}: must be {setting.check.allowed}; set it in a file"
                )
        return values


def _culprits(value: object, check: Check, here: Surroundings) -> Iterator[str]:
    """Of a table by names: which of its values are refused, and why; nothing if that is not what is wrong."""
    if not isinstance(check, ByName) or not isinstance(value, dict):
        return
    for name, one in value.items():
        try:
            check.each(one, here)
        except ValueError:
            hint = (
                _did_you_mean(one, check.each.choices) if isinstance(check.each, OneOf) and isinstance(one, str) else ""
            )
            yield f"{_key(name)} = {_shown(one)}: must be {check.each.allowed}{hint}"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else json.dumps(name)


def _shown(value: object) -> str:
    """As TOML writes it, near enough, on one line and cut."""
    text = "{...}" if isinstance(value, dict) else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
