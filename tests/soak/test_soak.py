"""The short forms of what `python -m tests.soak` does for minutes and hours."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.soak import day
from tests.soak.life import Life
from tests.support.namespaces import Network, missing


def say(text: str) -> None:
    print(text)  # noqa: T201 - shown by pytest with a failure


@pytest.mark.namespaces
def test_a_quarter_of_a_year_in_less_than_a_minute(tmp_path: Path) -> None:
    """One of four devices is away for two months, the others are killed, cut off, and set back to backups."""
    if (reason := missing()) is not None:
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    seed = int(os.environ.get("PEERD_SEED") or random.SystemRandom().getrandbits(32))
    say(f"seed {seed}")
    with Network() as network:
        life = Life(tmp_path, network, days=80, real_s=45, seed=seed, tell=say)
        with life.house:
            life.live(pause_s=0.05)


def test_a_day_in_a_quarter_of_a_minute(tmp_path: Path) -> None:
    """Nothing that a daemon uses grows from one busy time to the next."""
    day.live(tmp_path, 15.0, 1, say)
