"""A few devices in one space, for stories told by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any, Self

from peerd.engine.space import Space
from peerd.protocol.control.messages import ChangeRequest, RecordPage, RecordView, WriteResult
from peerd.protocol.control.reports import SpaceView
from tests.network_simulation.device import Device
from tests.network_simulation.disk import scratch
from tests.network_simulation.joining import found_space
from tests.network_simulation.spaces import SimSpace
from tests.network_simulation.world import World


class Scene:
    """Devices 0, 1, ... that are up and, unless `outside`, members of the space "home"."""

    def __init__(self, size: int, *, seed: int = 1, outside: Sequence[int] = ()) -> None:
        self._scratch = ExitStack()
        self.world = World(seed, self._scratch.enter_context(scratch()), size)
        self.world.air.loss = 0.0
        self.devices = self.world.devices
        self.network = self.world.network
        self.home: SimSpace
        self._outside = outside

    async def __aenter__(self) -> Self:
        for device in self.devices:
            await device.start()
        self.home = await self.found("home", [one for one in self.devices if one.number not in self._outside])
        return self

    async def __aexit__(self, *_: object) -> None:
        for device in self.devices:
            if device.is_up:
                await device.stop()
        self._scratch.close()

    async def found(self, name: str, devices: list[Device]) -> SimSpace:
        return await found_space(self.world, name, devices)

    async def link_all(self) -> None:
        """Everybody sees everybody, and some seconds pass."""
        self.world.air.refresh()
        await asyncio.sleep(5)

    async def until(self, true: Callable[[], bool], within_s: float = 300.0) -> None:
        """Let time pass until it is so."""
        end_s = asyncio.get_running_loop().time() + within_s
        while not true():
            assert asyncio.get_running_loop().time() < end_s, "it never came to that"
            await asyncio.sleep(0.01)

    # ---- one device

    def space(self, device: int, name: str = "home") -> Space:
        return self.devices[device].running.spaces.named(name)

    async def do(self, device: int, work: Callable[[], Awaitable[Any]]) -> Any:
        return await self.devices[device].do(work)

    async def write(self, device: int, *changes: ChangeRequest, space: str = "home") -> WriteResult:
        service = self.devices[device].running.service
        result: WriteResult = await self.do(device, lambda: service.write(space, changes))
        return result

    async def put(self, device: int, key: str, *, space: str = "home", **value: Any) -> WriteResult:
        return await self.write(
            device, ChangeRequest(kind="put", collection="notes", key=key, value=value), space=space
        )

    async def read(self, device: int, key: str, space: str = "home") -> RecordView:
        service = self.devices[device].running.service
        view: RecordView = await self.do(device, lambda: service.read_record(space, "notes", key))
        return view

    async def list(self, device: int, space: str = "home") -> RecordPage:
        service = self.devices[device].running.service
        page: RecordPage = await self.do(device, lambda: service.list_records(space, "notes", "", 1000, None))
        return page

    async def view(self, device: int, space: str = "home") -> SpaceView:
        service = self.devices[device].running.service
        view: SpaceView = await self.do(device, lambda: service.space(space))
        return view

    def clocks_equal(self, *devices: int) -> bool:
        clocks = [self.space(device).copy.clock() for device in devices or range(len(self.devices))]
        return all(clock == clocks[0] for clock in clocks)
