"""What members left on relays, as another member would read it."""

from __future__ import annotations

from collections.abc import Sequence

from peerd.protocol import relay_objects
from peerd.protocol.relay_objects import Covers
from tests.network_simulation.device import Device
from tests.network_simulation.relay import SimRelay


async def left_on_relays(space: bytes, members: Sequence[Device], relays: Sequence[SimRelay]) -> list[Covers]:
    """The transactions that the members' heads claim to hold, on relays that always kept what they were given."""
    reader = next((one for one in members if one.now is not None and one.now.is_started), None)
    if reader is None:
        return []
    found: list[Covers] = []
    for relay in relays:
        runner = reader.running.relays._runners.get((relay.name, space))
        if runner is None or relay.harmed:
            continue
        sealed = runner._sealed
        for member in members:
            name = sealed._head_name(member.id)
            kept = relay.objects.get(name)
            if kept is None:
                continue
            plain = sealed._sealing.open_head(name, kept.data, space, sealed._space_keys.opening())
            head = relay_objects.decode_head(plain.data)
            found.append(head.covers)
            if head.snapshot is not None:
                found.append({origin: [(1, seq)] for origin, seq in head.snapshot.clock.items()})
    return found
