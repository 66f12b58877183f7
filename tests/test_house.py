"""The rules of the house that a reviewer would otherwise have to remember: floors, sizes, mirrors, reasons."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerd import logs
from peerd.config.settings import SECTIONS, SpaceSettings, declared

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PEERD = ROOT / "peerd"
MODULES = sorted(path.relative_to(PEERD).as_posix() for path in PEERD.rglob("*.py"))
SOURCES = sorted([*PEERD.rglob("*.py"), *(ROOT / "tests").rglob("*.py")])

LONGEST_MODULE_LINES = 400
LONGEST_FUNCTION_LINES = 60

# Modules without a test file of their own name, and why, or where their tests are.
ELSEWHERE: dict[str, str] = {
    "__main__.py": "tests/test_main.py",
    "cli/exits.py": "nothing but constants",
    "cli/table_reports.py": "what `tables bind` prints: tests/cli/test_tables.py",
    "core/limits.py": "nothing but constants",
    "core/repair/scrub.py": "tests/engine/repair/test_scrubbing.py",
    "core/snapshots/intake.py": "one conversation with the parts: tests/core/snapshots/test_parts.py",
    "core/snapshots/rows.py": "tests/core/snapshots/test_parts.py",
    "core/snapshots/stored.py": "nothing but the shapes of values",
    "core/tables/changes.py": "nothing but the shapes of values",
    "core/tables/plans.py": "nothing but the shapes of values",
    "core/stored.py": "nothing but the shapes of values",
    "engine/upkeep/backups.py": "tests/system/test_backup.py",
    "engine/repair/findings.py": "tests/engine/repair/test_scrubbing.py, tests/engine/repair/test_repairs.py",
    "engine/repair/log_repairs.py": "tests/engine/repair/test_repairs.py",
    "engine/repair/mending.py": "tests/engine/repair/test_scrubbing.py",
    "engine/forks/aside_ports.py": "nothing but interfaces",
    "engine/learning.py": "tests/engine/test_spaces.py, tests/engine/links/test_inbound.py",
    "engine/ports.py": "nothing but interfaces",
    "engine/presence.py": "tests/engine/upkeep/test_trimming.py, tests/engine/members/test_inviting.py",
    "engine/provenance.py": "tests/engine/snapshots/test_status.py",
    "engine/relay/fork_talk.py": "tests/engine/forks/test_forks_on_relays.py",
    "engine/relay/ports.py": "nothing but interfaces",
    "engine/relay/views.py": "tests/engine/relay/test_relays.py, tests/engine/relay/test_status.py",
    "core/repair/form.py": "tests/engine/repair/test_repairs.py, tests/protocol/test_vectors.py",
    "engine/repair/answers.py": "tests/engine/repair/test_repairs.py",
    "engine/repair/scrub_rounds.py": "tests/system/test_damage.py",
    "engine/repair/scrub_status.py": "tests/engine/status/test_statuses.py",
    "engine/past/ports.py": "nothing but interfaces",
    "engine/repair/ports.py": "nothing but interfaces",
    "engine/snapshots/ports.py": "nothing but interfaces",
    "engine/upkeep/ports.py": "nothing but interfaces",
    "engine/store_ports.py": "nothing but interfaces",
    "engine/tables/ports.py": "nothing but interfaces",
    "engine/tables/harvesting.py": "tests/engine/tables/test_runner.py, tests/engine/tables/test_notices.py",
    "engine/tables/projecting.py": "tests/engine/tables/test_runner.py, tests/tables/test_two_copies.py",
    "engine/links/session_runner.py": "tests/engine/links/, tests/network_simulation/test_histories.py",
    "engine/status/peers.py": "tests/engine/status/test_statuses.py",
    "engine/status/spaces.py": "tests/engine/status/test_statuses.py",
    "engine/links/session_status.py": "tests/engine/status/test_statuses.py",
    "machine_status.py": "tests/test_daemon.py",
    "assembly.py": "tests/test_daemon.py",
    "net/incoming.py": "the listener's half of a connection: tests/net/test_listener.py",
    "engine/snapshots/clearing.py": "tests/engine/snapshots/test_snapshots.py",
    "engine/snapshots/making.py": "tests/engine/snapshots/test_snapshots.py",
    "engine/snapshots/serving.py": "tests/engine/snapshots/test_offers.py, tests/engine/snapshots/test_snapshots.py",
    "engine/forks/fork_talk.py": "tests/engine/forks/test_forks.py",
    "store/replacing.py": "tests/engine/forks/test_forks.py",
    "store/incoming.py": "tests/store/test_snapshots.py, tests/engine/snapshots/test_snapshots.py",
    "store/scrub_reading.py": "tests/engine/repair/test_scrubbing.py",
    "store/doubtful.py": "tests/engine/repair/test_damage.py",
    "store/row_shares.py": "tests/engine/repair/test_damage.py",
    "store/scrub_rows.py": "tests/engine/repair/test_damage.py, tests/engine/repair/test_scrubbing.py",
    "store/scrubs.py": "tests/engine/repair/test_scrubbing.py",
    "store/side.py": "tests/store/test_snapshots.py, tests/engine/snapshots/test_snapshots.py",
    "store/snapshot_reading.py": "tests/engine/snapshots/test_snapshots.py",
    "store/switching.py": "tests/store/test_snapshots.py, tests/engine/snapshots/test_snapshots.py",
    "protocol/control/history.py": "nothing but the shapes of values: tests/control/test_history.py",
    "protocol/control/relays.py": "nothing but the shapes of values: tests/control/test_relays.py",
    "protocol/control/recopy.py": "nothing but the shapes of values: tests/control/test_recopy.py",
    "protocol/control/tickets.py": "nothing but the shapes of values: tests/control/test_tickets.py",
    "protocol/control/growth.py": "nothing but the shapes of values: tests/engine/upkeep/test_growth.py",
    "protocol/control/tables.py": "nothing but the shapes of values: tests/control/test_tables.py",
    "protocol/effects.py": "nothing but the shapes of values",
    "protocol/pairing/inviter.py": "one conversation with the joiner: tests/protocol/pairing/test_pairing.py",
    "protocol/pairing/joiner.py": "one conversation with the inviter: tests/protocol/pairing/test_pairing.py",
    "protocol/pairing/keys.py": "tests/protocol/test_roster_vectors.py and tests/protocol/pairing/test_hostile.py",
    "protocol/pairing/messages.py": "tests/protocol/test_roster_vectors.py and tests/protocol/pairing/test_hostile.py",
    "protocol/control/backups.py": "nothing but the shapes of values: tests/control/test_backups.py",
    "restoring.py": "tests/system/test_backup.py",
    "store/checkpoints.py": "how the WAL is kept small: tests/store/test_database.py",
    "store/failures.py": "each kind of failure: tests/store/test_database.py",
    "store/founding.py": "the first half of every opening: tests/store/test_space.py",
    "store/lock.py": "a second owner: tests/store/test_space.py",
    "store/machine.py": "a part of the mark: tests/store/test_mark.py",
    "store/meta.py": "a part of every commit: tests/store/test_space.py",
    "store/opening.py": "which origin goes on: tests/store/test_mark.py",
    "core/tables/shape.py": "facts of a schema: tests/tables/test_reading.py",
    "protocol/relay/collecting.py": "tests/protocol/relay/test_courier_collecting.py",
    "protocol/relay/complaints.py": "tests/protocol/relay/test_courier_trouble.py",
    "protocol/relay/courier_choice.py": "the order of a courier's steps: tests/protocol/relay/test_courier.py",
    "protocol/relay/courier_parts.py": "what a courier is made of: tests/protocol/relay/test_courier.py",
    "protocol/relay/courier_settings.py": "nothing but the shapes of values",
    "protocol/relay/courier_status.py": "tests/protocol/relay/test_courier.py and test_courier_trouble.py",
    "protocol/relay/courier_steps.py": "nothing but the shapes of values",
    "protocol/relay/fetching.py": "tests/protocol/relay/test_courier.py, tests/relay_simulation/test_histories.py",
    "protocol/relay/leaving.py": "tests/protocol/relay/test_courier.py",
    "protocol/relay/health.py": "tests/protocol/relay/test_courier.py, tests/protocol/relay/test_courier_holding.py",
    "protocol/relay/looking.py": "tests/protocol/relay/test_courier.py, tests/protocol/relay/test_courier_trouble.py",
    "protocol/relay/own_head.py": "tests/protocol/relay/test_courier_trouble.py",
    "protocol/relay/reports.py": "tests/protocol/relay/test_courier_trouble.py",
    "protocol/relay/view.py": "tests/protocol/relay/test_courier_trouble.py, tests/relay_simulation/test_histories.py",
    "protocol/roster_exchange.py": "tests/protocol/test_session_messages.py, tests/protocol/test_session_stories.py",
    "protocol/relay/stream_reader.py": "tests/protocol/relay/test_courier.py, tests/relay_simulation/test_histories.py",
    "relay/sealer.py": "a device's keys and chance: tests/engine/relay/test_sealed_relay.py",
    "store/roster_copy.py": "tests/store/test_shelf.py, tests/system/test_damaged.py",
    "store/refs.py": "how rows name origins: tests/store/test_records.py",
    "tables/decisions.py": "what a person decides about held deletes: tests/tables/test_bound_file.py",
    "tables/standing.py": "a bound file in numbers: tests/tables/test_bound_file.py",
    "store/transaction.py": "what is read and written in one go: tests/store/test_space.py",
    "tables/bound_table.py": "statements: tests/tables/test_project.py",
    "tables/captured.py": "statements: tests/tables/test_harvest.py, tests/tables/test_fuzz.py",
    "tables/edits.py": "what becomes of each row: tests/tables/test_harvest.py, tests/tables/test_fuzz.py",
    "tables/identify.py": "which record a row is: tests/tables/test_harvest.py",
    "tables/links.py": "tests/tables/test_placing.py, tests/tables/test_project.py",
    "tables/notes.py": "from a harvest to its settling: tests/tables/test_settle.py",
    "tables/parking.py": "the list of each file in tests/tables/test_project.py",
    "tables/progress.py": "a part of every placement: tests/tables/test_placing.py",
    "tables/rowids.py": "what VACUUM and copies do: tests/tables/test_compare.py",
    "tables/seniority.py": "who makes way for whom: tests/tables/test_placing.py",
}

# What peerctl may load of peerd, so that it starts at once: itself, the client of the socket, what any program needs.
PEERCTL_MAY_LOAD = re.compile(r"peerd(\.errors|\.standard_streams|\.cli(\..+)?|\.control(\.client|\.exchange)?)?")
SLOW_LIBRARIES = ("aiohttp", "aiosqlite", "cryptography", "httptools", "msgspec", "structlog", "websockets", "zeroconf")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@pytest.fixture(autouse=True, scope="module")
def no_tree_left() -> Iterator[None]:
    """A million nodes would make every later collection of garbage in this process slow."""
    yield
    tree_of.cache_clear()


def named(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


# --- floors ---------------------------------------------------------------------------------------------


def test_the_floors_hold() -> None:
    """The contracts stand in pyproject.toml."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_peerctl_loads_no_part_of_the_daemon() -> None:
    program = "import sys, peerd.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    ours = [name for name in loaded if name == "peerd" or name.startswith("peerd.")]
    assert "peerd.cli.main" in ours
    assert [name for name in ours if not PEERCTL_MAY_LOAD.fullmatch(name)] == []
    assert [name for name in SLOW_LIBRARIES if name in loaded] == []


# --- sizes ----------------------------------------------------------------------------------------------


def test_no_module_is_too_long_to_read_at_once() -> None:
    long = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in PEERD.rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > LONGEST_MODULE_LINES} == {}


def test_no_function_is_too_long_to_read_at_once() -> None:
    long = [
        f"{named(path, node)} {node.name}"
        for path in PEERD.rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > LONGEST_FUNCTION_LINES
    ]
    assert long == []


def test_nothing_is_raised_where_a_group_is_taken_apart() -> None:
    """Before 3.11.4 Python puts what is raised in an `except*` into another group, which nobody up the way expects."""
    raising = [
        f"{named(path, handler)} raises in except*"
        for path in PEERD.rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.TryStar)
        for handler in node.handlers
        if any(isinstance(inner, ast.Raise) for inner in ast.walk(handler))
    ]
    assert raising == []


# --- mirrors --------------------------------------------------------------------------------------------


def mirror_of(module: str) -> Path:
    path = Path(module)
    return ROOT / "tests" / path.parent / f"test_{path.name}"


def needs_mirror(module: str) -> bool:
    """An `__init__.py` that only names things has nothing to test."""
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    is_package = Path(module).name == "__init__.py"
    return not is_package or any(isinstance(node, definitions) for node in tree_of(PEERD / module).body)


@pytest.mark.parametrize("module", [module for module in MODULES if needs_mirror(module)])
def test_every_module_has_its_tests(module: str) -> None:
    """In the file of the same name, or where `ELSEWHERE` says; what it says is still so."""
    if module not in ELSEWHERE:
        assert mirror_of(module).exists(), f"peerd/{module} has no {mirror_of(module).relative_to(ROOT)}"
        return
    assert not mirror_of(module).exists(), f"{module} has its own tests now: take it out of ELSEWHERE"
    for place in re.findall(r"tests/[\w/]+\.py", ELSEWHERE[module]):
        assert (ROOT / place).exists(), f"ELSEWHERE names {place} for {module}"


def test_no_exception_is_left_of_a_module_that_is_gone() -> None:
    assert [module for module in ELSEWHERE if module not in MODULES] == []


# --- reasons --------------------------------------------------------------------------------------------


def test_every_silenced_rule_names_its_code_and_its_reason() -> None:
    silent = []
    for path in SOURCES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            noqa = re.search(r"# noqa\b(.*)", line)
            ignored = re.search(r"# type: ignore\b(.*)", line)
            good_noqa = noqa is None or re.match(r": [A-Z]+\d+(, ?[A-Z]+\d+)* +(-|#|because)? *\w", noqa[1])
            good_ignore = ignored is None or re.match(r"\[[a-z, -]+\] +# *\w", ignored[1])
            if path != Path(__file__) and not (good_noqa and good_ignore):
                silent.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert silent == []


def test_every_log_call_keeps_to_the_closed_list() -> None:
    """Read from the source, so that events nobody has provoked in a test count as well."""
    wrong = []
    for path in PEERD.rglob("*.py"):
        for node in log_calls(path):
            phrase = node.args[0] if node.args else None
            if not (isinstance(phrase, ast.Constant) and logs._EVENT.fullmatch(str(phrase.value))):
                wrong.append(f"{named(path, node)}: the event is no static phrase")
            keys = {keyword.arg for keyword in node.keywords if keyword.arg is not None} - {"exc_info"}
            wrong += [f"{named(path, node)}: {key}" for key in sorted(keys - logs.KEYS)]
    assert wrong == []


def log_calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        target = node.func.value
        name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
        is_event = node.func.attr in {"debug", "info", "warning", "error", "exception"}
        if is_event and name in {"log", "_log", "logger"}:
            yield node


# --- settings -------------------------------------------------------------------------------------------


def test_every_setting_is_read_by_somebody() -> None:
    """A key that is accepted and does nothing is a promise nobody keeps."""
    text = "\n".join(path.read_text() for path in PEERD.rglob("*.py") if "config" not in path.parts)
    expected = [f"{section}.{key}" for section, struct in SECTIONS.items() for key in declared(struct)]
    expected += [f").{key}" for key in declared(SpaceSettings)]
    assert [name for name in expected if not re.search(re.escape(name) + r"\b", text)] == []
