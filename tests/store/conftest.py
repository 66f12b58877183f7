"""Copies of a space, over both runners."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.copies import DEVICE, Copy, MakeCopy


@pytest.fixture(params=["threaded", "inline"])
def threaded(request: pytest.FixtureRequest) -> bool:
    """Every test that uses a copy runs over both runners."""
    return bool(request.param == "threaded")


@pytest.fixture
async def make_copy(tmp_path: Path, threaded: bool) -> AsyncIterator[MakeCopy]:  # noqa: FBT001 - a fixture
    """Call it with a name for another copy of the same space, on a "device" of its own."""
    copies: list[Copy] = []

    async def make(name: str = "copy", device: bytes = DEVICE) -> Copy:
        folder = tmp_path / name
        folder.mkdir()
        copy = await Copy(folder, threaded=threaded, device=device).create()
        copies.append(copy)
        await copy.open()
        return copy

    yield make
    for copy in copies:
        await copy.store.close()


@pytest.fixture
async def copy(make_copy: MakeCopy) -> Copy:
    return await make_copy()
