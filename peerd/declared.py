"""What the configuration declares, in the engine's words: bound tables and relays, with their concrete back ends; and
its files.

A back end of a relay has its one line in `_BACK_ENDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from peerd.clock import Clock
from peerd.config import Settings
from peerd.config.relay_settings import CloudKitRelay as CloudKitSettings
from peerd.config.relay_settings import FolderRelay as FolderSettings
from peerd.core.tables.changes import Brake
from peerd.engine.relay.ports import RelayStore
from peerd.engine.relay.relaying import RelayPlan
from peerd.protocol.control.tables import NewBinding
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.relay.folder import FolderRelay

MB = 1_000_000


def files(settings: Settings) -> dict[str, Path]:
    """The files of the configuration, by what they are called in a backup."""
    return {
        f"config/{path.name if number == 0 else f'conf.d-{path.name}'}": path
        for number, path in enumerate(settings.files)
    }


def bindings(settings: Settings, space: str) -> list[tuple[NewBinding, Brake]]:
    """The tables that the configuration names for a space."""
    return [
        (
            NewBinding(
                database=str(one.database),
                name=one.name,
                include=list(one.include),
                exclude=list(one.exclude),
                keys=dict(one.keys),  # type: ignore[arg-type]  # the check lets no other word in
                match={table: list(columns) for table, columns in one.match.items()},
                references=dict(one.references),
                suggested=True,
            ),
            Brake(one.max_deletes, one.max_delete_share),
        )
        for one in settings.space(space).tables
    ]


def relays(settings: Settings) -> list[RelayPlan]:
    """The relays that are switched on."""
    return [
        _BACK_ENDS[name](relay, settings.device.state_dir)
        for name, relay in settings.relays.items()
        if relay.enabled  # type: ignore[attr-defined]  # every struct of `relay_settings` has it
    ]


def _folder(settings: FolderSettings, _state_dir: Path) -> RelayPlan:
    def open_store(changed: Callable[[], None]) -> RelayStore:
        relay = FolderRelay(settings.path)
        relay.watch(changed)
        return relay

    courier = CourierSettings(
        poll_min_s=30.0,
        poll_max_s=300.0,
        quiet_s=(1.0, 5.0),
        gather_s=float(settings.gather_s),
        acknowledge_s=(60.0, 60.0),
        max_bytes=settings.max_mb * MB,
        snapshots=True,
    )
    return RelayPlan("folder", f"folder {settings.path}", settings, settings.spaces, courier, open_store)


def _cloudkit(settings: CloudKitSettings, state_dir: Path) -> RelayPlan:
    def open_store(_changed: Callable[[], None]) -> RelayStore:
        # aiohttp takes a third of a second and 9 MB: only whoever has such a relay pays for it.
        from peerd.relay.cloudkit.client import Place  # noqa: PLC0415 - see above
        from peerd.relay.cloudkit.opening import open_cloudkit  # noqa: PLC0415 - see above

        place = Place(settings.container, settings.environment, settings.key_id, settings.base_url)
        return open_cloudkit(place, settings.key_file, state_dir, Clock())

    courier = CourierSettings(gather_s=float(settings.gather_s), max_bytes=settings.max_mb * MB, snapshots=True)
    return RelayPlan(
        "cloudkit",
        f"cloudkit {settings.base_url} {settings.container} {settings.environment}",
        settings,
        settings.spaces,
        courier,
        open_store,
    )


_BACK_ENDS: dict[str, Callable[[Any, Path], RelayPlan]] = {
    "folder": _folder,
    "cloudkit": _cloudkit,
}
