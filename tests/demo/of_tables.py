"""The tables of an ordinary to-do program, bound on three devices."""

from __future__ import annotations

import time
from typing import Any

from tests.demo.devices import DemoFailed, Device, in_sync, indented, say, wait_for


def play(devices: list[Device]) -> None:
    bind(devices)
    watch_one_row(devices)
    disagree(devices)
    agree(devices)
    settle(devices)


def alike(devices: list[Device]) -> bool:
    """A person who looks at the lists sees the same on all of them; which numbers the rows have is nobody's concern."""
    return len({device.todo("show") for device in devices}) == 1


def bind(devices: list[Device]) -> None:
    kitchen, office, laptop = devices
    for name in ("Garden", "House"):
        kitchen.todo("list", name)
    kitchen.todo("add", "Garden", "Buy seeds", "--due", "Monday")
    kitchen.todo("add", "Garden", "Mow the lawn")
    kitchen.todo("add", "House", "Fix the tap")
    say("a to-do program on kitchen keeps 2 lists and 3 items in a SQLite file; it has never heard of peerd")
    kitchen.ctl("tables", "bind", "home", str(kitchen.database), "--key", "items=surrogate", "--yes")
    say("peerctl tables bind home todo.db --key items=surrogate: an item's number is a number and no more")
    for device in (office, laptop):
        device.todo("show")  # the program was started once, so its file exists
        device.ctl("tables", "bind", "home", str(device.database), "--yes")
    say("peerctl tables bind home todo.db on office and laptop, whose files are empty; what was decided is taken over")
    wait_for(lambda: bool(laptop.todo("show")) and alike(devices), "the rows are in all files")
    say("laptop's to-do program shows:")
    print(indented(laptop.todo("show")))


def watch_one_row(devices: list[Device]) -> None:
    _, office, laptop = devices
    laptop.todo("add", "House", "Call the plumber")
    started_s = time.monotonic()
    wait_for(lambda: "Call the plumber" in office.todo("show"), "a new item travels")
    say(f"a new item on laptop is in office's file within {round((time.monotonic() - started_s) * 1000)} ms")
    wait_for(lambda: alike(devices) and in_sync(devices), "the new item is everywhere")


def disagree(devices: list[Device]) -> None:
    kitchen, office, laptop = devices
    laptop.ctl("pause")
    wait_for(lambda: not any(peer["state"] == "in sync" for peer in laptop.space()["peers"]), "laptop is cut off")
    say("laptop is cut off from the others; its to-do program goes on")
    for device, name, title in ((kitchen, "Party", "Bake a cake"), (laptop, "Holiday", "Pack the tent")):
        device.todo("list", name)
        device.todo("add", name, title)
    here = numbered(kitchen, "Party"), numbered(kitchen, "Bake a cake")
    there = numbered(laptop, "Holiday"), numbered(laptop, "Pack the tent")
    if here != there:
        raise DemoFailed(f"the new rows have different numbers: {here} and {there}")
    say(f"kitchen plans a party, laptop a holiday: both lists are number {here[0]}, the items on them number {here[1]}")
    office.todo("change", "Fix the tap", "--done")
    laptop.todo("change", "Fix the tap", "--due", "Sunday")
    say("fix the tap: office has done it while laptop gives it a day (different columns)")
    kitchen.todo("change", "Buy seeds", "--due", "Tuesday")
    laptop.todo("change", "Buy seeds", "--due", "Friday")
    say("buy seeds: kitchen says Tuesday while laptop says Friday (the same cell)")
    kitchen.todo("remove", "Mow the lawn")
    laptop.todo("change", "Mow the lawn", "--due", "Saturday")
    say("mow the lawn: kitchen removes it while laptop plans it for Saturday")


def agree(devices: list[Device]) -> None:
    kitchen, office, laptop = devices
    laptop.ctl("resume")
    wait_for(lambda: "tent" in kitchen.todo("show") and "cake" in laptop.todo("show"), "the new items meet")
    wait_for(lambda: in_sync(devices) and alike(devices), "all files show the same again")
    check_references(devices)
    say("laptop is back, all three to-do programs show the same, and no reference is broken:")
    print(indented(office.todo("show")))
    shown = office.todo("show").splitlines()
    wanted = ["  [x] Fix the tap, due Sunday", "  [ ] Mow the lawn, due Saturday"]
    if not set(wanted) <= set(shown) or shown.index("  [ ] Pack the tent") != shown.index("Holiday") + 1:
        raise DemoFailed(f"something is lost: {shown}")
    here, there = numbered(kitchen, "Pack the tent"), numbered(laptop, "Pack the tent")
    say(f"pack the tent is number {there} on laptop, number {here} on kitchen, and on the list Holiday everywhere")


def settle(devices: list[Device]) -> None:
    kitchen, office, _ = devices
    say("the tap has both edits; what met is listed, the same on every device, by peerctl conflicts home:")
    conflicts = {}
    for one in office.ctl("conflicts", "home")["conflicts"]:
        title = office.ctl("get", "home", one["collection"], one["key"])["value"]["title"]
        conflicts[title] = one
        print(indented(f"{title}: {told(one)}"))
    if any(len(device.ctl("conflicts", "home")["conflicts"]) != len(conflicts) for device in devices):
        raise DemoFailed("the devices list different conflicts")
    if set(conflicts) != {"Buy seeds", "Mow the lawn"}:
        raise DemoFailed(f"the conflicts are not those that were made: {sorted(conflicts)}")
    office.ctl("resolve", "home", conflicts["Mow the lawn"]["id"], "--choose", "0")
    kitchen.todo("change", "Buy seeds", "--due", "Wednesday")
    wait_for(lambda: in_sync(devices) and not any(device.space()["conflicts"] for device in devices), "settled")
    wait_for(lambda: alike(devices), "all files show the same at the end")
    check_references(devices)
    if "Buy seeds, due Wednesday" not in office.todo("show"):
        raise DemoFailed("the last word on the seeds did not travel")
    say("kitchen sets the day anew in its to-do program, office keeps the lawn: nothing is open, all are equal")


def told(conflict: dict[str, Any]) -> str:
    if conflict["kind"] == "restored":
        return f"kept, an edit on {conflict['values'][0]['device_name']} met a delete on {conflict['deleted_by_name']}"
    values = [
        f"{value['value']} from {value['device_name']}{' (shown)' if value['shown'] else ''}"
        for value in conflict["values"]
    ]
    return f"{conflict['field']} is {' or '.join(values)}"


def numbered(device: Device, title: str) -> str:
    for line in device.todo("show", "--numbers").splitlines():
        if title in line:
            return line.split()[0]
    raise DemoFailed(f"{device.name} has no {title}")


def check_references(devices: list[Device]) -> None:
    for device in devices:
        if device.broken_references():
            raise DemoFailed(f"{device.name}: rows of the to-do file refer to nothing")
