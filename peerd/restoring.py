"""A restore, assembled: which device a backup makes of this machine, and what has to be said before that happens.

    keys in the backup    keys here           what becomes of it
    yes                   none, or the same   this machine is that device; spaces that the backup lacks stay
    yes                   of another device   it becomes that device; all that is here is set aside
    no                    the same            the spaces go back to that state
    no                    none                refused: without its keys it cannot be that device again
    no                    of another device   refused: what the backup brings belongs to another device

`other_device` leaves the keys of the backup alone, so what is refused can be had all the same: the machine keeps its
keys, or gets new ones, and the copies that come are readable, but no member's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from peerd.config import load
from peerd.core.device_id import format_device_id, parse_device_id, short_id
from peerd.errors import StoreBusy, UserError
from peerd.identity import Identity, IdentityError
from peerd.store.backup_folder import Manifest, damaged_backup, read_manifest
from peerd.store.failures import translate
from peerd.store.lock import Lock
from peerd.store.put_back import PutBack


class Plan(Struct, frozen=True, kw_only=True):
    """What a restore is about to do. `replaced` are names of spaces that are set aside, `becomes`: this machine gets
    the keys of another device than it has now.
    """

    state_dir: str
    device: str
    device_name: str
    age_s: int
    spaces: list[str]
    lacking: list[str]
    replaced: list[str]
    becomes: bool
    other_device: bool


class Restored(Struct, frozen=True, kw_only=True):
    """`set_aside`: "" if nothing was in the way. `config`: where the backup has the configuration, "" if nowhere."""

    plan: Plan
    set_aside: str
    config: str


def restore(
    source: Path,
    config: Path | None,
    environ: Mapping[str, str],
    *,
    other_device: bool,
    agreed: Callable[[Plan], bool],
) -> Restored | None:
    """Put the backup `source` in place of what the configured state directory has; None if `agreed` says no.

    Raises:
        UserError: backup-not-found, backup-damaged, backup-newer, daemon-running, keys-missing, other-device,
            same-device.
        ConfigError, IdentityError, DiskFull, StoreError.
    """
    manifest = read_manifest(source)
    state_dir = load(config, environ).device.state_dir
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise translate(problem, state_dir) from problem
    try:
        lock = Lock.take(state_dir / "lock")
    except StoreBusy as problem:
        raise UserError(
            f"peerd is running with {state_dir}",
            code="daemon-running",
            status=409,
            next_step="Stop it (systemctl --user stop peerd), restore, and start it again.",
        ) from problem
    try:
        return _restore(manifest, source, state_dir, other_device=other_device, agreed=agreed)
    finally:
        lock.release()


def _restore(
    manifest: Manifest, source: Path, state_dir: Path, *, other_device: bool, agreed: Callable[[Plan], bool]
) -> Restored | None:
    here = _device_here(state_dir / "identity", manifest)
    if not (manifest.has_keys or other_device or here == manifest.backup.device):
        raise _no_keys(here, state_dir / "identity", manifest)
    if other_device and here == manifest.backup.device:
        raise _same_device(state_dir, manifest)
    keys = manifest.has_keys and not other_device
    becomes = keys and here not in {"", manifest.backup.device}
    plan = _plan(manifest, state_dir, becomes=becomes, other_device=other_device)
    if not agreed(plan):
        return None
    putting = PutBack(state_dir, source, manifest, keys=keys, everything=becomes)
    putting.copy()
    if keys:
        try:
            _check_keys(putting.stage / "identity", source, manifest)
        except UserError:
            putting.give_up()
            raise
    putting.put()
    if other_device:
        Identity.load_or_create(state_dir / "identity")
    config = source / "config"
    return Restored(plan=plan, set_aside=str(putting.aside or ""), config=str(config) if config.is_dir() else "")


def _check_keys(folder: Path, source: Path, manifest: Manifest) -> None:
    try:
        found = format_device_id(Identity.load(folder).device)
    except IdentityError as problem:
        raise damaged_backup(source, str(problem)) from problem
    if found != manifest.backup.device:
        raise damaged_backup(source, "its keys are of another device")


def _device_here(identity: Path, manifest: Manifest) -> str:
    """The id of the device whose keys are here, "" if there are none; damaged ones do not count if others come."""
    if not Identity.is_in(identity):
        return ""
    try:
        return format_device_id(Identity.load(identity).device)
    except IdentityError:
        if manifest.has_keys:
            return ""
        raise


def _same_device(state_dir: Path, manifest: Manifest) -> UserError:
    return UserError(
        f"{state_dir} has the keys of {_whose(manifest)} itself: with them a restore makes this machine that device",
        code="same-device",
        status=409,
        next_step="Leave `--other-device` out if that is meant. To only read the backup here, or if that device runs "
        "elsewhere, move `identity/`, `spaces/` and `marks/` of the state directory away first.",
    )


def _whose(manifest: Manifest) -> str:
    return f"{manifest.backup.device_name} ({short_id(parse_device_id(manifest.backup.device))})"


def _no_keys(here: str, identity: Path, manifest: Manifest) -> UserError:
    whose = _whose(manifest)
    step = (
        "If a copy of its `identity/` exists anywhere, put it into the state directory and restore again. Otherwise "
        "`--other-device` restores what can be read: export it, or let another member invite this device anew."
    )
    if not here:
        return UserError(
            f"the backup of {whose} was made without its keys, and there are none in {identity}: this machine cannot "
            "be that device again",
            code="keys-missing",
            status=409,
            next_step=f"{step} If its configuration is elsewhere, name it with --config.",
        )
    return UserError(
        f"the backup is of {whose}, without its keys, and this is another device ({short_id(parse_device_id(here))})",
        code="other-device",
        status=409,
        next_step=step,
    )


def _plan(manifest: Manifest, state_dir: Path, *, becomes: bool, other_device: bool) -> Plan:
    spaces = state_dir / "spaces"
    coming = {space.id for space in manifest.backup.spaces}
    there = sorted(spaces.glob("*.db")) if spaces.is_dir() else []
    return Plan(
        state_dir=str(state_dir),
        device=manifest.backup.device,
        device_name=manifest.backup.device_name,
        age_s=max(0, round(time.time() - manifest.backup.made_ms / 1000)),
        spaces=[space.name for space in manifest.backup.spaces],
        lacking=[space.name for space in manifest.backup.lacking],
        replaced=[_called(path) for path in there if becomes or path.stem in coming],
        becomes=becomes,
        other_device=other_device,
    )


def _called(path: Path) -> str:
    try:
        return path.with_suffix(".name").read_text(encoding="utf-8").strip() or path.stem
    except (OSError, UnicodeDecodeError):
        return path.stem
