from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peerd.relay.cloudkit.gate import FIRST_S, LONGEST_S, OBEYED_S, Gate
from tests.relay.cloudkit.conftest import Times

DAY_S = 86_400.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gate.json"


def test_it_is_open_at_first_and_writes_nothing(file: Path, times: Times) -> None:
    gate = Gate(file, times)
    assert gate.wait_s() == 0
    gate.well()
    gate.ill("INTERNAL_ERROR")
    assert not file.exists()


def test_a_wait_that_is_asked_for_is_kept_over_a_restart(file: Path, times: Times) -> None:
    assert Gate(file, times).asked(110_207, "THROTTLED") == 110_207
    times.now_s += 10_000
    again = Gate(file, times)
    assert again.wait_s() == pytest.approx(100_207)
    assert again.why == "THROTTLED"
    times.now_s += 100_208
    assert again.wait_s() == 0
    assert Gate(file, times).wait_s() == 0


def test_a_wait_is_never_shortened(file: Path, times: Times) -> None:
    gate = Gate(file, times)
    gate.asked(1000, "long")
    gate.asked(10, "short")
    gate.ill("ill")
    gate.well()
    assert gate.wait_s() == 1000
    assert Gate(file, times).wait_s() == 1000


@pytest.mark.parametrize(("jump_s", "left_s"), [(-30 * DAY_S, 3600), (0, 3600), (1800, 1800), (30 * DAY_S, 0)])
def test_a_clock_that_jumps_never_makes_it_longer(file: Path, times: Times, jump_s: float, left_s: float) -> None:
    Gate(file, times).asked(3600, "THROTTLED")
    times.ahead_s = jump_s
    assert Gate(file, times).wait_s() == pytest.approx(left_s)


def test_while_it_runs_the_wall_clock_does_not_matter(file: Path, times: Times) -> None:
    gate = Gate(file, times)
    gate.asked(3600, "THROTTLED")
    times.ahead_s = 1e6
    assert gate.wait_s() == 3600


@pytest.mark.parametrize("wait_s", [1e12, float("inf")])
def test_a_number_that_nobody_means_has_an_end(file: Path, times: Times, wait_s: float) -> None:
    assert Gate(file, times).asked(wait_s, "THROTTLED") == OBEYED_S
    assert OBEYED_S > 5 * DAY_S


def test_our_own_wait_doubles_up_to_its_end_and_starts_over(file: Path, times: Times) -> None:
    gate = Gate(file, times)
    waits = []
    for _ in range(14):
        waits.append(gate.ill("INTERNAL_ERROR"))
        times.now_s += waits[-1]
    assert waits[:4] == [FIRST_S, 4.0, 8.0, 16.0]
    assert waits[-1] == LONGEST_S
    gate.well()
    assert gate.ill("INTERNAL_ERROR") == FIRST_S


def test_our_own_wait_has_full_jitter(file: Path, times: Times) -> None:
    times.chance = 0.25
    gate = Gate(file, times)
    gate.ill("x")
    times.now_s += 1
    assert gate.ill("x") == 1.0


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 5000, b"\xff", b'{"asked_ms":1,"not_before_ms":"x"}'])
def test_a_file_that_is_damaged_keeps_nobody_away(
    file: Path, times: Times, content: bytes, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    file.write_bytes(content)
    assert Gate(file, times).wait_s() == 0
    assert [event["event"] for event in log_events()] == ["a kept wait of the relay cannot be read"]


def test_a_file_that_cannot_be_written_is_told_and_the_wait_holds(
    tmp_path: Path, times: Times, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    gate = Gate(tmp_path / "none" / "gate.json", times)
    gate.asked(3600, "THROTTLED")
    assert gate.wait_s() == 3600
    assert [event["event"] for event in log_events()] == ["a wait of the relay cannot be kept"]
