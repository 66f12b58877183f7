"""Between discovery and the rest: members are recognised, strangers learn nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.engine.conftest import MakeDevice


async def test_a_device_without_spaces_shows_no_tag(make: MakeDevice) -> None:
    device = make("laptop")
    assert device.lookout._tags_for(bytes(16)) == []
