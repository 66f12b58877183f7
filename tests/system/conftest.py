"""A machine that runs a real systemd as PID 1 of namespaces of its own; the host's is never spoken to.

stage     units to copy in, files for /etc and /usr/local/bin
boot.sh   runs inside: hides the host's directories, makes a control group, becomes systemd
machine   talks to it from outside with `nsenter`; killing its PID 1 kills everything in it
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

ROOT = Path(__file__).parents[2]
UNITS = Path("/usr/lib/systemd/system") if Path("/usr/lib/systemd/system").exists() else Path("/lib/systemd/system")
WAIT_S = 60.0
NAMESPACES = ("--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--mount-proc", "--kill-child")
TARGETS = ("boot", "sysinit", "basic", "shutdown", "network", "multi-user", "sockets")
HIDDEN = ("/root", "/home", "/tmp", "/var/tmp")  # noqa: S108 - what ProtectHome= and PrivateTmp= hide


def missing() -> str | None:
    """What is lacking to boot a systemd here, in a sentence, or None."""
    if os.geteuid() != 0:
        return "a systemd of its own needs root"
    for command in ("unshare", "nsenter", "ip", "systemctl", "systemd-analyze", "systemd-sysusers"):
        if shutil.which(command) is None:
            return f"a systemd of its own needs the command {command}"
    tried = subprocess.run(
        [
            "unshare",
            *NAMESPACES,
            "sh",
            "-c",
            "mount -t tmpfs none /run && mkdir /run/c && mount -t cgroup2 none /run/c",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"this system makes no namespaces for it: {tried.stderr.strip()}"


class Machine:
    """Boots on entering, is gone on leaving. `unit` names the service of most calls."""

    def __init__(self, stage: Path) -> None:
        self.stage = stage
        self._cgroup = f"peerd-test-{os.getpid()}-{time.monotonic_ns()}"
        self._console = stage / "console"
        self._outer: subprocess.Popen[bytes] | None = None
        self._init = 0
        for name in ("units", "etc/peerd", "bin"):
            (stage / name).mkdir(parents=True)
        for target in TARGETS:
            (stage / f"units/{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        (stage / "units/boot.target").write_text("[Unit]\nDefaultDependencies=no\nWants=systemd-journald.service\n")
        for unit in ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"):
            shutil.copy(UNITS / unit, stage / "units")
        (stage / "etc/systemd").mkdir()
        # Not the kernel's log: that is the host's.
        (stage / "etc/systemd/journald.conf").write_text("[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n")

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def try_to(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, whatever comes of it."""
        inside = ["nsenter", "--target", str(self._init), "--all", *command]
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=WAIT_S)

    def run(self, *command: str) -> str:
        """Run a command inside and give what it printed; a failure raises with all there is to know."""
        done = self.try_to(*command)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{self.said()}")
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """One property of a unit, as `systemctl show` gives it."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is so."""
        deadline_s = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{what} did not come true\n{self.said()}")
            time.sleep(0.05)

    def said(self) -> str:
        """What the boot, systemd and the service wrote, for a failure's report."""
        journal = self.try_to("journalctl", "--no-pager", "--output=short-monotonic") if self._init else None
        return f"--- boot\n{self._console.read_text()}\n--- journal\n{journal.stdout if journal else ''}"

    def journal(self, unit: str) -> list[dict[str, Any]]:
        """The entries of a unit in the journal, as maps of strings."""
        self.run("journalctl", "--sync")
        printed = self.run("journalctl", "--output=json", "--unit", unit)
        return [json.loads(line) for line in printed.splitlines()]

    def path(self, inside: str) -> Path:
        """A file of the machine, seen from outside."""
        return Path(f"/proc/{self._init}/root{inside}")

    # --- booting ----------------------------------------------------------------------------------------

    def _boot(self) -> None:
        command = ["unshare", *NAMESPACES, "bash", str(Path(__file__).with_name("boot.sh"))]
        with self._console.open("wb") as console:
            self._outer = subprocess.Popen(
                [*command, str(self.stage), self._cgroup, *map(str, kept())],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.wait(self._find_init, "the first process")
        self.wait(self._is_up, "the boot")

    def _find_init(self) -> bool:
        assert self._outer is not None
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        found = children.read_text().split() if children.exists() else []
        self._init = int(found[0]) if found else 0
        return bool(found)

    def _is_up(self) -> bool:
        assert self._outer is not None
        if self._outer.poll() is not None:
            raise RuntimeError(f"the machine did not boot\n{self.said()}")
        if not self.path("/run/systemd/private").exists():
            return False
        return self.try_to("systemctl", "is-active", "boot.target").stdout.strip() == "active"

    def _end(self) -> None:
        if self._outer is None:
            return
        if self._init:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
        else:
            self._outer.kill()
        self._outer.wait(WAIT_S)
        remove = f"mount -t cgroup2 none /mnt && find /mnt/{self._cgroup} -depth -type d -exec rmdir {{}} +"
        subprocess.run(["unshare", "--mount", "sh", "-c", remove], capture_output=True, check=False)


def kept() -> list[Path]:
    """The directories that the daemon is run from: this tree, its environment, its interpreter."""
    paths = {ROOT, Path(sys.prefix), Path(sys.base_prefix)} - {Path("/usr"), Path("/usr/local")}
    return sorted(path for path in paths if not any(other in path.parents for other in paths))


def run_from_here() -> str:
    """Lines for [Service] that show the daemon the directories it is run from, where its sandbox hides them."""
    hidden = [path for path in kept() if any(path.is_relative_to(place) for place in HIDDEN)]
    lines = [f"BindReadOnlyPaths={path}" for path in hidden]
    if any(path.is_relative_to(place) for path in hidden for place in HIDDEN[:2]):
        lines.append("ProtectHome=tmpfs")
    return "\n".join(lines)


@pytest.fixture
def stage(tmp_path: Path) -> Machine:
    """A machine with peerd's system unit, its files where the unit expects them; not booted yet."""
    machine = Machine(tmp_path / "stage")
    shutil.copy(ROOT / "systemd/peerd.service", machine.stage / "units")
    shutil.copytree(ROOT / "systemd/sysusers.d", machine.stage / "etc/sysusers.d", dirs_exist_ok=True)
    command = machine.stage / "bin/peerd"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m peerd "$@"\n')
    command.chmod(0o755)
    drop_in = machine.stage / "units/peerd.service.d/test.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(
        # The promise is 5 s; whoever needs longer is killed and fails.
        f"[Service]\nTimeoutStopSec=5\nRestartSec=100ms\n{run_from_here()}\n"
    )
    (machine.stage / "etc/peerd/peerd.toml").write_text('[device]\nname = "unit"\n')
    return machine


@pytest.fixture
def boot() -> Callable[[Machine], contextlib.AbstractContextManager[Machine]]:
    """Boots a machine for a block, with the group made; peerd is not started yet. Skips where it cannot be."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)

    @contextlib.contextmanager
    def booted(machine: Machine) -> Iterator[Machine]:
        with machine:
            machine.run("systemd-sysusers", "/etc/sysusers.d/peerd.conf")
            yield machine

    return booted


@pytest.fixture
def machine(stage: Machine, boot: Callable[[Machine], contextlib.AbstractContextManager[Machine]]) -> Iterator[Machine]:
    """The machine with peerd's system unit, booted."""
    with boot(stage) as booted:
        yield booted
