"""Two machines with one program each: its data in a folder of its own, and a peerd beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Device, House, pair, wait_for

SPACE = "home"
PROGRAMS = ("beets", "buku", "django", "newsboat")
RUN_S = 120
# Of the page on Django, with an application of one table.
DJANGO_OPTIONS = (
    "--exclude", "django_migrations", "--exclude", "django_session",
    "--key", "django_content_type=content", "--match", "django_content_type=app_label,model",
    "--key", "auth_permission=content", "--match", "auth_permission=content_type_id,codename",
    "--key", "auth_group=content", "--match", "auth_group=name",
    "--key", "auth_user=content", "--match", "auth_user=username",
    "--key", "auth_group_permissions=content", "--match", "auth_group_permissions=group_id,permission_id",
    "--key", "auth_user_groups=content", "--match", "auth_user_groups=user_id,group_id",
    "--key", "auth_user_user_permissions=content", "--match", "auth_user_user_permissions=user_id,permission_id",
    "--key", "django_admin_log=surrogate", "--key", "diary_entry=surrogate",
)  # fmt: skip


def program(package: str, name: str) -> Path:
    """A command that `make recipes` installed; a test that wants it is skipped where it is not there."""
    found = Path(os.environ["PEERD_RECIPES"]) / package / "bin" / name
    if not found.exists():
        pytest.skip(f"{package} is not installed: make recipes")
    return found


def debian_program(name: str) -> Path:
    """A command of the system."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    return Path(found)


class Place:
    """One machine: a daemon, and a home folder in which the program runs."""

    def __init__(self, device: Device, home: Path) -> None:
        self.device = device
        self.home = home
        home.mkdir(parents=True)

    def run(self, *command: str | Path, stdin: str = "", **environ: str) -> str:
        """Run the program as its user would; gives what it prints."""
        done = subprocess.run(
            [str(one) for one in command], input=stdin, capture_output=True, text=True, check=False, cwd=self.home,
            timeout=RUN_S, env={"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", **environ},
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def binding(self) -> dict[str, Any]:
        found: dict[str, Any] = self.device.call("GET", "spaces", SPACE, "bindings")["bindings"][0]
        return found

    def in_step(self) -> bool:
        return bool(self.binding["state"] == "in step")


class Two:
    """Both machines, and what is done with both."""

    def __init__(self, house: House, folder: Path, file: str) -> None:
        self.house = house
        self.file = file
        self.kitchen, self.study = (Place(device, folder / device.name) for device in house.start("kitchen", "study"))
        self.kitchen.device.create(SPACE)
        pair(self.kitchen.device, self.study.device, SPACE)

    @property
    def places(self) -> Sequence[Place]:
        return (self.kitchen, self.study)

    def bind(
        self, *options: str, second: Sequence[str] = (), policies: Mapping[str, Sequence[str]] | None = None
    ) -> list[dict[str, Any]]:
        """The kitchen's file, then the policies, then the study's file with `second` besides; gives both reports."""
        reports: list[dict[str, Any]] = []
        for place, more in ((self.kitchen, ()), (self.study, second)):
            asked = ["tables", "bind", SPACE, str(place.home / self.file), "--name", "app", "--yes", *options, *more]
            reports.append(place.device.ctl(*asked))
            place.device.wait(place.in_step, "its file is in step")
            for collection, policy in (policies or {}).items() if len(reports) == 1 else ():
                assert place.device.run("collection", SPACE, collection, *policy).returncode == 0
            self.house.agree(SPACE)
        return reports

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """No exchange between the machines inside; everything is harvested when it ends."""
        assert self.study.device.run("pause").returncode == 0
        yield
        assert self.study.device.run("resume").returncode == 0

    def until(self, condition: Callable[[], Any], what: str) -> None:
        wait_for(condition, what, self.house.devices)

    def show(self, show: Callable[[Place], Any], expected: Any) -> None:
        """Wait until both programs show this, and both files are sound and in step."""
        try:
            self.until(lambda: all(show(place) == expected for place in self.places), "both show the same")
        except AssertionError as late:
            shown = {place.device.name: show(place) for place in self.places}
            listed = {place.device.name: place.binding for place in self.places}
            raise AssertionError(f"expected {expected}\nshown {shown}\nbindings {listed}") from late
        self.settle()

    def settle(self) -> None:
        self.house.agree(SPACE)
        for place in self.places:
            place.device.wait(place.in_step, "its file is in step")
            assert self.ask(place, "PRAGMA integrity_check") == [("ok",)]
            assert self.ask(place, "PRAGMA foreign_key_check") == []

    def ask(self, place: Place, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the file has, read by a connection of its own."""
        with contextlib.closing(sqlite3.connect(place.home / self.file, timeout=20)) as connection:
            return connection.execute(sql, values).fetchall()

    def rows(self, sql: str) -> Callable[[Place], list[tuple[Any, ...]]]:
        """What this statement finds in a machine's file, for `show`."""
        return lambda place: self.ask(place, sql)
