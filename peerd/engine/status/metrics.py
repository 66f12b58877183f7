"""Metrics in the Prometheus text format (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Sequence

from peerd.core.device_id import short_id
from peerd.engine.conflicts import Conflicts
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.repair.scrub_status import describe_scrub
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.engine.status.statuses import Statuses
from peerd.protocol.control.relays import RelayView
from peerd.protocol.control.reports import MachineStatus

_HELP = {
    "peerd_links": ("gauge", "Devices that are linked"),
    "peerd_link_bulk_bytes": ("counter", "Bytes of entries for a linked device, before compression"),
    "peerd_link_bulk_sent_bytes": ("counter", "Bytes of entries sent to a linked device"),
    "peerd_records": ("gauge", "Visible records"),
    "peerd_conflicts": ("gauge", "Conflicts that nobody has settled"),
    "peerd_parked_records": ("gauge", "Records whose delete met an edit and that are not restored yet"),
    "peerd_transactions": ("counter", "Transactions applied, all origins"),
    "peerd_log_position": ("counter", "Runs in the local log"),
    "peerd_staged_runs": ("gauge", "Runs that wait for what they depend on"),
    "peerd_database_bytes": ("gauge", "Size of the database with its journal"),
    "peerd_database_free_bytes": ("gauge", "Bytes of the database's file that hold nothing at the moment"),
    "peerd_wal_bytes": ("gauge", "Size of the database's journal"),
    "peerd_log_bytes": ("gauge", "Bytes of the transactions in the log"),
    "peerd_history_bytes": ("gauge", "Bytes of replaced values in the local history"),
    "peerd_held_back_transactions": ("gauge", "Old transactions that are kept because a peer or a relay lacks them"),
    "peerd_held_back_bytes": ("gauge", "Bytes of the same"),
    "peerd_behind_transactions": ("gauge", "Transactions that a peer has and this device lacks"),
    "peerd_ahead_transactions": ("gauge", "Transactions that this device has and a peer is not known to have"),
    "peerd_damaged_records": ("gauge", "Findings of damage in this copy that are not put right"),
    "peerd_repaired_records": ("gauge", "Findings of damage of the last 30 days that were put right"),
    "peerd_scrub_progress": ("gauge", "How far the scrub of the copy is, 0 to 1"),
    "peerd_scrub_last_success_seconds": ("gauge", "When the copy was last looked at as a whole, seconds since 1970"),
    "peerd_clock_offset_seconds": ("gauge", "The wall clock of a linked device less ours"),
    "peerd_relay_last_success_seconds": ("gauge", "When a relay was last used without failure, seconds since 1970"),
    "peerd_relay_trouble": ("gauge", "1 if a person has to put something right before a relay works"),
    "peerd_relay_to_leave_transactions": ("gauge", "Transactions that a relay lacks and this device has"),
    "peerd_relay_to_fetch_transactions": ("gauge", "Transactions that a relay has and this device lacks"),
    "peerd_relay_held_bytes": ("gauge", "Bytes that a relay holds of a space"),
    "peerd_relay_findings": ("gauge", "Objects on a relay that are not as they should be"),
    "peerd_open_files": ("gauge", "File descriptors that are open"),
    "peerd_max_files": ("gauge", "File descriptors that may be open"),
    "peerd_slowest_write_seconds": ("gauge", "The longest write to a database in the last hour, 0 if none took 1 s"),
    "peerd_loop_stalls": ("gauge", "How often the daemon stood still for 2 s or more in the last hour"),
    "peerd_loop_longest_stall_seconds": ("gauge", "The longest of these times"),
    "peerd_converged": ("gauge", "1 if nothing is behind, refused or in doubt"),
}


async def render(spaces: Spaces, switchboard: Switchboard, statuses: Statuses, relays: Sequence[RelayView] = ()) -> str:
    samples: dict[str, list[str]] = {name: [] for name in _HELP}
    samples["peerd_links"].append(f"peerd_links {len(switchboard.links)}")
    samples["peerd_converged"].append(f"peerd_converged {int(statuses.health().converged)}")
    _add_machine(samples, statuses.machine())
    for device, link in switchboard.links.items():
        peer = f'{{device="{short_id(device)}"}}'
        samples["peerd_link_bulk_bytes"].append(f"peerd_link_bulk_bytes{peer} {link.bulk_bytes}")
        if link.offset_ms is not None:
            samples["peerd_clock_offset_seconds"].append(
                f"peerd_clock_offset_seconds{peer} {link.offset_ms / 1000:.3f}"
            )
        samples["peerd_link_bulk_sent_bytes"].append(f"peerd_link_bulk_sent_bytes{peer} {link.bulk_sent_bytes}")
    for space in spaces.by_id.values():
        label = f'space="{_escaped(space.name)}"'
        conflicts, parked = await Conflicts(space).counts()
        scrub, sizes = describe_scrub(space), await statuses.spaces.growth.sizes(space)
        values: dict[str, float] = {
            "peerd_damaged_records": scrub.damaged,
            "peerd_repaired_records": scrub.repaired,
            "peerd_scrub_progress": scrub.progress,
            "peerd_conflicts": sum(conflicts.values()),
            "peerd_parked_records": parked,
            "peerd_records": space.copy.visible - len(space.commits.rules.named),
            "peerd_transactions": sum(space.copy.clock().values()),
            "peerd_log_position": space.commits.last_position,
            "peerd_staged_runs": len(space.commits.staging),
            "peerd_database_bytes": sizes.database_bytes + sizes.wal_bytes,
            "peerd_database_free_bytes": sizes.free_bytes,
            "peerd_wal_bytes": sizes.wal_bytes,
            "peerd_log_bytes": sizes.log_bytes,
            "peerd_history_bytes": sizes.history_bytes,
        }
        if scrub.finished_ms is not None:
            values["peerd_scrub_last_success_seconds"] = scrub.finished_ms / 1000
        for name, value in values.items():
            samples[name].append(f"{name}{{{label}}} {value}")
        await _add_held(samples, label, space, statuses)
        for other in statuses.peers.of(space):
            both = f'{label},device="{other.device.replace("-", "")[:8]}"'
            if other.behind is not None:
                samples["peerd_behind_transactions"].append(f"peerd_behind_transactions{{{both}}} {other.behind}")
            if other.ahead is not None:
                samples["peerd_ahead_transactions"].append(f"peerd_ahead_transactions{{{both}}} {other.ahead}")
    for view in relays:
        _add_relay(samples, view)
    lines: list[str] = []
    for name, (kind, text) in _HELP.items():
        if samples[name]:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *samples[name]]
    return "\n".join(lines) + "\n"


async def _add_held(samples: dict[str, list[str]], label: str, space: Space, statuses: Statuses) -> None:
    members, relays = await statuses.spaces.growth.holding(space)
    holding = [(f'device="{short_id(device)}"', one) for device, one in members.items()]
    holding += [(f'relay="{_escaped(one.relay)}"', one.holding) for one in relays]
    for who, one in holding:
        samples["peerd_held_back_transactions"].append(
            f"peerd_held_back_transactions{{{label},{who}}} {one.transactions}"
        )
        samples["peerd_held_back_bytes"].append(f"peerd_held_back_bytes{{{label},{who}}} {one.size_bytes}")


def _add_machine(samples: dict[str, list[str]], machine: MachineStatus | None) -> None:
    if machine is None:
        return
    values: dict[str, float] = {
        "peerd_open_files": machine.max_files if machine.open_files is None else machine.open_files,
        "peerd_max_files": machine.max_files,
        "peerd_slowest_write_seconds": machine.slowest_write_s,
        "peerd_loop_stalls": machine.stalls,
        "peerd_loop_longest_stall_seconds": machine.longest_stall_s,
    }
    for name, value in values.items():
        samples[name].append(f"{name} {value}")


def _add_relay(samples: dict[str, list[str]], view: RelayView) -> None:
    label = f'relay="{_escaped(view.relay)}",space="{_escaped(view.space)}"'
    values: dict[str, float] = {
        "peerd_relay_trouble": int(view.state == "trouble"),
        "peerd_relay_to_leave_transactions": view.to_send,
        "peerd_relay_to_fetch_transactions": view.to_fetch,
        "peerd_relay_held_bytes": view.held_bytes,
        "peerd_relay_findings": len(view.findings),
    }
    if view.last_success_ms is not None:
        values["peerd_relay_last_success_seconds"] = view.last_success_ms / 1000
    for name, value in values.items():
        samples[name].append(f"{name}{{{label}}} {value}")


def _escaped(value: str) -> str:
    """A label's value as the format wants it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
