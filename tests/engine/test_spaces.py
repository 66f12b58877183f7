"""Spaces: founded, joined, left; who belongs to them, and the secrets that the members share."""

from __future__ import annotations


import pytest

from peerd.errors import DiskFull
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time


@in_virtual_time
async def test_founding_on_a_full_disk_leaves_nothing_behind() -> None:
    """When there is room again, the same name is free and the same files can be opened."""
    async with Scene(1) as scene:
        device = scene.devices[0]
        device.fault_now = lambda: DiskFull("no space left")
        with pytest.raises(DiskFull):
            await device.do(lambda: device.running.spaces.found("work"))
        device.fault_now = lambda: None
        assert [one.name for one in device.running.spaces.by_id.values()] == ["home"]
        assert len(list((device.state / "spaces").glob("*.db"))) == 1
        await device.do(lambda: device.running.spaces.found("work"))
        await scene.put(0, "one", space="work", a=1)


@in_virtual_time
async def test_a_full_disk_does_not_keep_the_daemon_from_closing_its_spaces() -> None:
    """What is known of peers is not worth a database that stays open."""
    async with Scene(2) as scene:
        await scene.found("work", [scene.devices[0]])
        await scene.link_all()
        device = scene.devices[0]
        device.fault_now = lambda: DiskFull("no space left")
        await device.stop()
        device.fault_now = lambda: None
        await device.start()
        assert len(device.running.spaces.by_id) == 2
