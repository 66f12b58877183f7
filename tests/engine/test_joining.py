"""Being let in: by code or by name, from discovery or from a given host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peerd.errors import UserError

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def test_a_host_that_does_not_answer_is_named_unreachable(desk: Device) -> None:
    with pytest.raises(UserError) as refused:
        await desk.joining.join("12345678", None, [(("192.0.2.9", 1),)], None)
    assert refused.value.code == "unreachable"
