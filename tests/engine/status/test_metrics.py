"""Metrics that a Prometheus server can read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from peerd.core.device_id import short_id
from peerd.engine.relay.relays import Holding
from peerd.engine.status import metrics
from peerd.protocol.control.messages import CollectionChange
from peerd.protocol.control.relays import RelayView

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Until, Wire

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
LABEL = re.compile(r'(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)="(?P<value>(?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
ESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def parsed(text: str) -> Samples:
    """What a reader of the format 0.0.4 understands; it fails on whatever that does not allow."""
    found: Samples = {}
    types: dict[str, str] = {}
    current = ""
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("#"):
            _, kind, name, rest = line.split(" ", 3)
            assert kind in {"HELP", "TYPE"}
            assert (kind == "HELP") == (name not in types and name != current), "HELP, then TYPE, once each"
            current = name
            if kind == "TYPE":
                assert rest in {"counter", "gauge"}
                types[name] = rest
            continue
        match = SAMPLE.fullmatch(line)
        assert match is not None, line
        assert match["name"] == current, "samples stand under their TYPE"
        assert current in types
        labels = tuple((one, value) for one, value in labels_of(match["labels"] or ""))
        assert (current, labels) not in found, "each sample once"
        found[current, labels] = float(match["value"])
    return found


def labels_of(text: str) -> list[tuple[str, str]]:
    found = []
    at = 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match is not None, text
        found.append((match["name"], re.sub(r'\\[\\"n]', lambda one: ESCAPED[one[0]], match["value"])))
        at = match.end()
    return found


async def rendered(device: Device) -> Samples:
    return parsed(await metrics.render(device.spaces, device.switchboard, device.statuses))


async def test_visible_records_are_counted(desk: Device) -> None:
    await desk.put("a", {"n": 1})
    await desk.put("b", {"n": 1})
    await desk.delete("b")
    await desk.park("c")
    await desk.records.set_collection("notes", CollectionChange(policy="max"))
    found = await rendered(desk)
    home = (("space", "home"),)
    assert found["peerd_records", home] == 1
    assert found["peerd_transactions", home] == sum(desk.clock_now().values()) == 5
    assert found["peerd_log_position", home] == desk.space.commits.last_position
    assert found["peerd_staged_runs", home] == 0
    assert found["peerd_parked_records", home] == 1
    sizes = await desk.space.store.upkeep.sizes()
    assert found["peerd_database_bytes", home] == sizes.database_bytes + sizes.wal_bytes
    assert found["peerd_database_free_bytes", home] == sizes.free_bytes
    assert found["peerd_wal_bytes", home] == sizes.wal_bytes
    assert found["peerd_log_bytes", home] == sizes.log_bytes > 0
    assert found["peerd_history_bytes", home] == sizes.history_bytes > 0
    assert found["peerd_links", ()] == 0
    assert found["peerd_converged", ()] == 1


async def test_what_is_held_back_is_counted_for_each(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    desk.statuses.spaces.growth.holders.holdings = lambda _: [Holding("nas", desk.clock_now(), 0.0)]
    await desk.put("a", {"n": 1})
    await desk.housekeeping.tidy(31 * 24 * 3600 * 1000)
    found = await rendered(desk)
    home = ("space", "home")
    assert found["peerd_held_back_transactions", (home, ("device", short_id(laptop.id)))] == 1
    assert found["peerd_held_back_bytes", (home, ("device", short_id(laptop.id)))] > 0
    assert found["peerd_held_back_transactions", (home, ("relay", "nas"))] == 0


async def test_conflicts_are_counted_until_they_are_settled(desk: Device) -> None:
    """Two values of one field are one conflict."""
    home = (("space", "home"),)
    await desk.put("a", {"x": 0})
    old = (await desk.records.read("notes", "a")).etag
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 2}, seen=old)
    assert (await rendered(desk))["peerd_conflicts", home] == 1
    await desk.put("a", {"x": 3})
    assert (await rendered(desk))["peerd_conflicts", home] == 0


async def test_without_a_space_there_is_still_something_to_read(make: MakeDevice) -> None:
    found = await rendered(make("desk"))
    assert found == {("peerd_links", ()): 0, ("peerd_converged", ()): 1}


async def test_a_linked_peer_is_measured(two: tuple[Device, Device], wire: Wire, until: Until) -> None:
    desk, laptop = two
    wire.connect(desk, laptop)
    await desk.put("a", {"x": "y" * 10_000})
    await until(lambda: laptop.clock_now() == desk.clock_now() and desk.statuses.health().converged)
    found = await rendered(desk)
    device = ("device", short_id(laptop.id))
    assert found["peerd_links", ()] == 1
    assert found["peerd_converged", ()] == 1
    assert found["peerd_behind_transactions", (("space", "home"), device)] == 0
    assert found["peerd_ahead_transactions", (("space", "home"), device)] == 0
    bulk, sent = found["peerd_link_bulk_bytes", (device,)], found["peerd_link_bulk_sent_bytes", (device,)]
    assert bulk > 10_000
    assert 0 < sent < bulk, "it was compressed"


async def test_a_member_that_is_away_is_no_convergence(two: tuple[Device, Device]) -> None:
    found = await rendered(two[0])
    assert found["peerd_converged", ()] == 0
    assert not [name for name, _ in found if name == "peerd_behind_transactions"], "nothing is known of it"


async def test_every_space_has_its_samples(desk: Device) -> None:
    await desk.spaces.found("work")
    found = await rendered(desk)
    assert {labels for name, labels in found if name == "peerd_records"} == {(("space", "home"),), (("space", "work"),)}


async def test_a_name_cannot_break_out_of_its_label(desk: Device) -> None:
    """A space may have been named by somebody else."""
    name = 'ho"me\\n\n} 1\npeerd_evil{x="'
    desk.space.name = name
    found = await rendered(desk)
    assert found["peerd_records", (("space", name),)] == 0
    assert not [one for one, _ in found if "evil" in one]


async def test_everything_that_is_told_has_a_help(desk: Device) -> None:
    text = await metrics.render(desk.spaces, desk.switchboard, desk.statuses)
    assert len(re.findall(r"^# HELP peerd_\w+ \w.+$", text, re.MULTILINE)) == len(re.findall("# TYPE", text))


def test_every_metric_is_in_the_handbook() -> None:
    page = (Path(__file__).parents[3] / "docs/monitoring.md").read_text()
    assert set(re.findall(r"^\| `(peerd_\w+)`", page, re.MULTILINE)) == set(metrics._HELP)


async def test_relays_are_counted_by_space(desk: Device) -> None:
    """One that was never used has no time of a success."""
    views = [
        RelayView(relay="folder", space="home", state="trouble", to_send=3, held_bytes=7),
        RelayView(relay="cloudkit", space="home", state="idle", to_fetch=2, last_success_ms=1_500),
    ]
    samples = parsed(await metrics.render(desk.spaces, desk.switchboard, desk.statuses, views))
    folder, cloud = (("relay", "folder"), ("space", "home")), (("relay", "cloudkit"), ("space", "home"))
    assert samples["peerd_relay_trouble", folder] == 1
    assert samples["peerd_relay_trouble", cloud] == 0
    assert samples["peerd_relay_to_leave_transactions", folder] == 3
    assert samples["peerd_relay_to_fetch_transactions", cloud] == 2
    assert samples["peerd_relay_held_bytes", folder] == 7
    assert samples["peerd_relay_findings", cloud] == 0
    assert samples["peerd_relay_last_success_seconds", cloud] == 1.5
    assert ("peerd_relay_last_success_seconds", folder) not in samples
