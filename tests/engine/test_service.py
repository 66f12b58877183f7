"""What the control socket asks for, handed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peerd.errors import UserError

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def test_an_unknown_space_is_a_404(desk: Device) -> None:
    with pytest.raises(UserError) as refused:
        await desk.service.read_record("away", "notes", "a")
    assert (refused.value.code, refused.value.status) == ("space-not-found", 404)
