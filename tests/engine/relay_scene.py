"""Relays for devices of the engine's tests: a real folder between them, quick couriers, and a store that stumbles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peerd import identity
from peerd.engine.members.file_invitations import FileInvitations
from peerd.engine.relay.ports import RelayStore
from peerd.engine.relay.relaying import RelayPlan
from peerd.engine.relay.relays import Relays
from peerd.engine.relay.sealed_relay import SealedRelay
from peerd.errors import RelayTrouble
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.protocol.relay.objects import RelayObject
from peerd.relay.folder import FolderRelay
from peerd.relay.sealer import Sealer
from tests.engine.conftest import Device, RunningHands

QUICK = CourierSettings(
    poll_min_s=0.02,
    poll_max_s=0.05,
    quiet_s=(0.0, 0.01),
    gather_s=0.01,
    foreign_s=(0.05, 0.1),
    lan_s=(0.05, 0.1),
)


def new_stick(tmp_path: Path) -> Path:
    """A folder for a relay."""
    path = tmp_path / "stick"
    path.mkdir()
    return path


def objects(folder: Path) -> list[Path]:
    """What lies there."""
    return list(folder.glob("??/*"))


class Sealed:
    """One folder as the devices see it to whom `as_seen_by` gives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stores: list[FolderRelay] = []

    async def as_seen_by(self, device: Device) -> SealedRelay:
        store = FolderRelay(self._folder)
        await store.prepare()
        self._stores.append(store)
        sealer = Sealer(identity.seal, device.keys.open, device.clock.random_bytes)
        return SealedRelay(device.space, device.spaces, store, sealer, device.keys)

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


class Stumbling:
    """A folder whose answers fail or get lost as `mishaps` says: a method's name, and whether it was done."""

    def __init__(self, folder: Path) -> None:
        self.folder = FolderRelay(folder)
        self.object_bytes = self.folder.object_bytes
        self.mishaps: list[tuple[str, bool]] = []
        self.calls: list[str] = []

    async def _do(self, method: str, *arguments: Any, **more: Any) -> Any:
        self.calls.append(method)
        mishap = next((one for one in self.mishaps if one[0] == method), None)
        if mishap is None:
            return await getattr(self.folder, method)(*arguments, **more)
        self.mishaps.remove(mishap)
        if mishap[1]:
            await getattr(self.folder, method)(*arguments, **more)
        raise RelayTrouble("the answer got lost", code="relay-unreachable", retry_s=0.01)

    async def prepare(self) -> None:
        await self._do("prepare")

    async def lookup(self, names: Sequence[str], *, contents: bool) -> Mapping[str, RelayObject]:
        found: Mapping[str, RelayObject] = await self._do("lookup", names, contents=contents)
        return found

    async def create(self, objects: Mapping[str, bytes]) -> Sequence[str]:
        others: Sequence[str] = await self._do("create", objects)
        return others

    async def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        new_tag: str | None = await self._do("replace", name, data, tag)
        return new_tag

    async def leave(
        self, objects: Mapping[str, bytes], name: str, data: bytes, tag: str | None
    ) -> tuple[Sequence[str], str | None]:
        others = await self.create(objects)
        return others, None if others else await self.replace(name, data, tag)

    async def delete(self, names: Sequence[str]) -> None:
        await self._do("delete", names)

    async def check(self, name: str) -> Sequence[tuple[str, bool, str, str]]:
        return await self.folder.check(name)

    async def close(self) -> None:
        await self.folder.close()


class Relayed:
    """A device with a relay in a folder. `store` is the back end once `start` was called."""

    def __init__(
        self, device: Device, folder: Path, *, spaces: tuple[str, ...] = ("*",), courier: CourierSettings = QUICK
    ) -> None:
        self.device = device
        self.folder = folder
        self.store = Stumbling(folder)
        times = RunningHands()
        sealer = Sealer(identity.seal, device.keys.open, times.random_bytes)
        self.relays = Relays(device.spaces, sealer, device.keys, times)
        self.ticket_keys = TicketKeys()
        self.files = FileInvitations(device.spaces, sealer, device.keys, self.ticket_keys, device.clock)
        self.plan = RelayPlan("folder", f"folder {folder}", str(folder), spaces, courier, self._open)

    def _open(self, _changed: Callable[[], None]) -> RelayStore:
        return self.store

    async def start(self) -> Relayed:
        await self.relays.follow([self.plan])
        return self

    async def stop(self) -> None:
        await self.relays.stop()


class TicketKeys:
    """`made`: the private halves of those that were made."""

    def __init__(self) -> None:
        self.made: list[bytes] = []

    def public_key_of(self, private: bytes) -> bytes:
        self.made.append(private)
        return identity.public_key_of(private)

    def sign_with(self, private: bytes, data: bytes) -> bytes:
        return identity.sign_with(private, data)
