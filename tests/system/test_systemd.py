"""The units under a real systemd, in namespaces of its own: started, notified, reloaded, watched, stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.system.conftest import Machine

    Boot = Callable[[Machine], AbstractContextManager[Machine]]

ROOT = Path(__file__).parents[2]
PLACES = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
SYSTEMD = next((place for place in PLACES if Path(place).exists()), PLACES[0])
UNIT = "peerd.service"
SOCKET = "/run/peerd/peerd.sock"
A_USER = 4711
USER_MANAGER = f"""\
[Service]
Type=notify
User={A_USER}
Delegate=yes
Environment=XDG_RUNTIME_DIR=/run/user/{A_USER} HOME=/home/ann
Environment=SYSTEMD_UNIT_PATH=/run/held/1/user-units SYSTEMD_GENERATOR_PATH=/nonexistent
ExecStart={SYSTEMD} --user --unit=boot.target
"""

pytestmark = pytest.mark.systemd


def is_active(machine: Machine) -> bool:
    return machine.show(UNIT, "ActiveState") == "active"


def messages(machine: Machine) -> list[str]:
    return [entry["MESSAGE"] for entry in machine.journal(UNIT)]


def peerctl(
    machine: Machine, *arguments: str, groups: tuple[str, ...] | None = None
) -> subprocess.CompletedProcess[str]:
    """`peerctl` inside, as root or, with `groups` given, as a user who is in them."""
    who: tuple[str, ...] = ()
    if groups is not None:
        listed = ("--groups", ",".join(groups)) if groups else ("--clear-groups",)
        who = ("setpriv", f"--reuid={A_USER}", f"--regid={A_USER}", *listed)
    command = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "peerd.cli.main", "--socket", SOCKET, *arguments)
    return machine.try_to(*who, *command)


def status(machine: Machine) -> dict[str, Any]:
    """What the daemon says of itself; read, so that it needs no permission beyond the socket's."""
    done = peerctl(machine, "status", "--json")
    assert done.stdout, f"{done.stderr}\n{machine.said()}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_unit_starts_serves_and_stops(machine: Machine) -> None:
    """`systemctl start` returns when peerd says that it is ready; by then it serves."""
    machine.run("systemctl", "start", UNIT)
    assert is_active(machine)
    assert machine.show(UNIT, "StatusText")
    assert machine.show(UNIT, "UID") not in {"", "0"}
    assert status(machine)["device"]["name"] == "unit"
    assert stat.S_IMODE(machine.path("/var/lib/private/peerd").stat().st_mode) == 0o700

    machine.run("systemctl", "stop", UNIT)
    assert machine.show(UNIT, "ActiveState") == "inactive", machine.said()
    assert machine.show(UNIT, "Result") == "success", machine.said()
    assert machine.show(UNIT, "ExecMainStatus") == "0"
    assert not machine.path(SOCKET).exists()


def test_the_state_outlives_the_service_and_its_user(machine: Machine) -> None:
    machine.run("systemctl", "start", UNIT)
    device = status(machine)["device"]["id"]
    machine.run("systemctl", "restart", UNIT)
    assert status(machine)["device"]["id"] == device


def test_the_log_goes_to_the_journal_with_priorities(machine: Machine) -> None:
    machine.run("systemctl", "start", UNIT)
    (entry,) = [entry for entry in machine.journal(UNIT) if entry["MESSAGE"].startswith("daemon ready")]
    assert entry["PRIORITY"] == "6"
    assert entry["_TRANSPORT"] == "stdout"


def test_a_reload_applies_a_good_configuration_and_keeps_the_running_one_for_a_bad_one(machine: Machine) -> None:
    machine.run("systemctl", "start", UNIT)
    before = machine.show(UNIT, "MainPID")
    file = machine.path("/etc/peerd/peerd.toml")

    file.write_text('[device]\nname = "unit"\n[network]\nmdns = "perhaps"\n')
    machine.run("systemctl", "reload", UNIT)
    machine.wait(lambda: any("network.mdns" in message for message in messages(machine)), "the refusal")

    file.write_text('[device]\nname = "unit"\n[log]\nlevel = "debug"\n')
    machine.run("systemctl", "reload", UNIT)
    machine.wait(lambda: any("settings reloaded" in message for message in messages(machine)), "the reload")

    machine.wait(lambda: is_active(machine), "the end of the reload")
    assert machine.show(UNIT, "MainPID") == before
    assert machine.show(UNIT, "NRestarts") == "0"


def test_the_watchdog_kills_a_daemon_that_hangs_and_starts_another(stage: Machine, boot: Boot) -> None:
    (stage.stage / f"units/{UNIT}.d/watchdog.conf").write_text("[Service]\nWatchdogSec=2\nTimeoutAbortSec=2\n")
    with boot(stage) as machine:
        machine.run("systemctl", "start", UNIT)
        first = machine.show(UNIT, "MainPID")
        machine.run("kill", "-STOP", first)
        machine.wait(lambda: machine.show(UNIT, "NRestarts") == "1" and is_active(machine), "the restart")
        assert machine.show(UNIT, "MainPID") != first
        assert status(machine)["device"]["name"] == "unit"


def test_a_daemon_that_is_well_keeps_its_watchdog_fed(stage: Machine, boot: Boot) -> None:
    """For longer than the watchdog allows; a feed is seen in the time systemd keeps of the last one."""
    (stage.stage / f"units/{UNIT}.d/watchdog.conf").write_text("[Service]\nWatchdogSec=2\n")
    with boot(stage) as machine:
        machine.run("systemctl", "start", UNIT)
        seen: set[str] = set()

        def fed_often() -> bool:
            seen.add(machine.show(UNIT, "WatchdogTimestampMonotonic"))
            return len(seen) > 4

        machine.wait(fed_often, "feeding")
        assert machine.show(UNIT, "NRestarts") == "0"


def test_a_killed_daemon_is_started_again_however_often(machine: Machine) -> None:
    """Five starts in ten seconds is where systemd gives up unless told not to."""
    machine.run("systemctl", "start", UNIT)
    for count in range(1, 7):
        machine.run("kill", "-KILL", machine.show(UNIT, "MainPID"))
        machine.wait(lambda: machine.show(UNIT, "NRestarts") == str(count) and is_active(machine), "the restart")  # noqa: B023 - used at once
    assert status(machine)["device"]["name"] == "unit"


def test_a_wrong_configuration_fails_once_and_says_why(machine: Machine) -> None:
    machine.path("/etc/peerd/peerd.toml").write_text("[network]\nlisten = 7337\nmdns = 1\n")
    assert machine.try_to("systemctl", "start", UNIT).returncode != 0
    assert machine.show(UNIT, "ActiveState") == "failed"
    assert machine.show(UNIT, "ExecMainStatus") == "2"
    assert machine.show(UNIT, "NRestarts") == "0"
    text = "\n".join(messages(machine))
    assert "/etc/peerd/peerd.toml: network.listen = 7337" in text
    assert "/etc/peerd/peerd.toml: network.mdns = 1" in text


def test_the_sockets_group_may_read_and_only_the_write_group_may_write(machine: Machine) -> None:
    machine.run("systemctl", "start", UNIT)
    socket = machine.path(SOCKET).stat()
    group = str(socket.st_gid)
    assert stat.S_IMODE(socket.st_mode) == 0o660
    assert f"\npeerd:x:{group}:" in machine.path("/etc/group").read_text()

    assert peerctl(machine, "status", groups=()).returncode != 0
    assert peerctl(machine, "status", groups=(group,)).returncode in {0, 4}
    refused = peerctl(machine, "space", "create", "home", groups=(group,))
    assert refused.returncode == 6, refused.stderr

    (machine.path("/etc/peerd") / "conf.d").mkdir()
    machine.path("/etc/peerd/conf.d/write.toml").write_text('[control]\nwrite_group = "peerd"\n')
    machine.run("systemctl", "reload", UNIT)
    machine.wait(lambda: any("settings reloaded" in message for message in messages(machine)), "the reload")
    created = peerctl(machine, "space", "create", "home", groups=(group,))
    assert created.returncode == 0, created.stderr


def test_with_the_socket_unit_the_first_use_starts_peerd(stage: Machine, boot: Boot) -> None:
    """And the socket stays while the service is restarted: nobody who connects meanwhile is refused."""
    shutil.copy(ROOT / "systemd/peerd.socket", stage.stage / "units")
    shutil.copy(ROOT / "systemd/peerd.service.d/socket.conf", stage.stage / f"units/{UNIT}.d")
    with boot(stage) as machine:
        machine.run("systemctl", "start", "peerd.socket")
        assert not is_active(machine)
        assert status(machine)["device"]["name"] == "unit"
        assert is_active(machine)
        first = machine.path(SOCKET).stat()
        assert stat.S_IMODE(first.st_mode) == 0o660

        machine.run("systemctl", "stop", UNIT)
        assert status(machine)["device"]["name"] == "unit"
        assert machine.path(SOCKET).stat().st_ino == first.st_ino


def test_the_system_units_exposure_is_at_most_one_and_a_half() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs the command systemd-analyze")
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager"]
    done = subprocess.run(
        [*command, str(ROOT / "systemd/peerd.service")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze is too old to look at a file")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_line_of_the_sandbox_has_its_reason() -> None:
    """A comment stands above it, and no comment stands for more than five lines."""
    text = (ROOT / "systemd/peerd.service").read_text()
    sandbox = text.partition("# --- whose it is ---")[2].partition("# Deliberately absent:")[0]
    reasons, under_one = 0, 99
    for line in filter(None, sandbox.splitlines()):
        if line.startswith("#"):
            under_one = 0
        else:
            reasons, under_one = reasons + 1, under_one + 1
            assert under_one <= 5, f"{line} has no reason of its own"
    assert reasons > 25


def test_the_user_unit_starts_serves_and_stops_under_a_users_own_systemd(stage: Machine, boot: Boot) -> None:
    units = stage.stage / "user-units"
    units.mkdir()
    shutil.copy(ROOT / "systemd/user/peerd.service", units)
    for target in ("boot", "basic", "shutdown", "default"):
        (units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    (stage.stage / "units/ann.service").write_text(USER_MANAGER)
    runtime = f"/run/user/{A_USER}"
    with boot(stage) as machine:
        with machine.path("/etc/passwd").open("a") as passwd:
            passwd.write(f"ann:x:{A_USER}:{A_USER}::/home/ann:/bin/sh\n")
        for folder in ("/home/ann/.local/bin", runtime):
            machine.run("install", "-d", "-o", str(A_USER), "-g", str(A_USER), folder)
        machine.run("cp", "/usr/local/bin/peerd", "/home/ann/.local/bin/peerd")
        machine.run("chown", "--recursive", str(A_USER), "/home/ann")
        machine.run("systemctl", "start", "ann.service")

        ann = ("setpriv", f"--reuid={A_USER}", f"--regid={A_USER}", "--clear-groups")
        environment = ("env", f"XDG_RUNTIME_DIR={runtime}", "HOME=/home/ann", f"PYTHONPATH={ROOT}")
        systemctl = (*ann, *environment, "systemctl", "--user")
        machine.run(*systemctl, "start", UNIT)
        command = (*ann, *environment, sys.executable, "-m", "peerd.cli.main")
        assert json.loads(machine.try_to(*command, "status", "--json").stdout)["device"]["id"]
        assert machine.try_to(*command, "space", "create", "home").returncode == 0
        assert stat.S_IMODE(machine.path(f"{runtime}/peerd").stat().st_mode) == 0o700
        assert machine.path("/home/ann/.local/state/peerd").is_dir()

        machine.run(*systemctl, "stop", UNIT)
        shown = machine.run(*systemctl, "show", "--property", "Result", "--property", "ExecMainStatus", UNIT)
        assert shown.split() == ["Result=success", "ExecMainStatus=0"]


def test_the_user_unit_leaves_out_what_hides_homes_and_users() -> None:
    """It is there for the tables of applications, which lie in the home directory and belong to its user."""
    text = (ROOT / "systemd/user/peerd.service").read_text()
    for name in ("ProtectHome", "PrivateUsers", "DynamicUser", "ProtectSystem"):
        assert not re.search(f"^{name}=", text, re.MULTILINE)
