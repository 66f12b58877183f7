from __future__ import annotations

import ctypes
import time
from typing import TYPE_CHECKING

import pytest

from peerd import clock
from peerd.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    kernel = Kernel(tmp_path / "synchronized")
    monkeypatch.setattr(clock, "_adjtimex", lambda: kernel)
    monkeypatch.setattr(clock, "_TIMESYNCD_MARK", kernel.mark)
    return kernel


class Kernel:
    """Stands in for adjtimex(2): says `error_us`, or refuses when that is None."""

    def __init__(self, mark: Path) -> None:
        self.error_us: int | None = 0
        self.mark = mark

    def __call__(self, reading: object) -> int:
        if self.error_us is None:
            return -1
        timex = ctypes.cast(reading, ctypes.POINTER(clock._Timex)).contents  # type: ignore[arg-type]  # a byref
        assert timex.modes == 0, "reading must not set anything"
        timex.maxerror = self.error_us
        return 0


@pytest.mark.parametrize(
    ("error_us", "quality"),
    [pytest.param(15_999_999, 2, id="below 16 s"), pytest.param(16_000_000, 0, id="the kernel's own worst")],
)
def test_the_kernels_error_decides(kernel: Kernel, error_us: int, quality: int) -> None:
    kernel.error_us = error_us
    kernel.mark.touch()  # counts for nothing while the kernel speaks
    assert Clock().quality() == quality


def test_where_the_kernel_must_not_be_asked_timesyncds_mark_decides(kernel: Kernel) -> None:
    kernel.error_us = None
    assert Clock().quality() == 0
    kernel.mark.touch()
    assert Clock().quality() == 2


def test_agreement_with_a_peer_is_worth_less_than_the_kernel_and_more_than_nothing(kernel: Kernel) -> None:
    kernel.error_us = None
    ours = Clock()
    ours.set_agreed(True)
    assert ours.quality() == 1
    kernel.mark.touch()
    assert ours.quality() == 2
    kernel.mark.unlink()
    ours.set_agreed(False)
    assert ours.quality() == 0


def test_this_kernel_can_be_asked() -> None:
    assert Clock().quality() in {0, 2}
    error_us = clock._kernel_error_us()
    assert error_us is None or error_us >= 0


def test_clocks_count_in_their_units() -> None:
    ours = Clock()
    before, now, after = time.time(), ours.wall_ms(), time.time()
    assert before * 1000 - 1 <= now <= after * 1000 + 1
    assert time.monotonic() - 60 < ours.monotonic_s() <= time.monotonic()
    assert ours.boottime_s() <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert ours.monotonic_s() <= ours.boottime_s()


def test_chance_has_the_asked_size_and_range() -> None:
    ours = Clock()
    assert len(ours.random_bytes(32)) == 32
    assert ours.random_bytes(32) != ours.random_bytes(32)
    drawn = {ours.uniform(2.0, 3.0) for _ in range(100)}
    assert all(2.0 <= value <= 3.0 for value in drawn)
    assert len(drawn) > 1
