"""Drives one pairing machine over one link: frames and time in, effects out, until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from peerd.engine.ports import Link, Times
from peerd.errors import LinkLost, PeerdError, RemoteProtocolError
from peerd.logs import get
from peerd.protocol.pairing.inviter import Inviter
from peerd.protocol.pairing.joiner import Joiner
from peerd.protocol.pairing.pairing import Admit, AskPerson, Effect, Failed, Finished, Send, Store

log = get(__name__)

_LAST_WORD_S = 2.0
Perform = Callable[[AskPerson | Admit | Store], Awaitable[list[Effect]]]


async def drive(machine: Inviter | Joiner, link: Link, times: Times, perform: Perform) -> Finished | Failed:
    """Run to the end. `perform` carries out what needs the rest of the daemon and gives the effects of its answer."""
    try:
        effects = machine.start(times.boottime_s()) if isinstance(machine, Joiner) else []
        while True:
            end = await _carry_out(machine, link, times, perform, effects)
            if end is not None:
                return end
            effects = await _next(machine, link, times)
    finally:
        await _close(link)


async def _next(machine: Inviter | Joiner, link: Link, times: Times) -> list[Effect]:
    wait_s = None if machine.deadline_s is None else max(0.0, machine.deadline_s - times.boottime_s())
    try:
        async with asyncio.timeout(wait_s):
            frame = await link.receive()
    except TimeoutError:
        return machine.tick(times.boottime_s())
    except (LinkLost, RemoteProtocolError):
        return machine.lost(times.boottime_s())
    return machine.receive(frame, times.boottime_s())


async def _carry_out(
    machine: Inviter | Joiner, link: Link, times: Times, perform: Perform, effects: Iterable[Effect]
) -> Finished | Failed | None:
    pending = list(effects)
    while pending:
        effect = pending.pop(0)
        match effect:
            case Send():
                try:
                    await link.send(effect.frame)
                except LinkLost:
                    pending.extend(machine.lost(times.boottime_s()))
            case Finished() | Failed():
                return effect
            case _:
                try:
                    pending.extend(await perform(effect))
                except PeerdError as problem:
                    log.warning("pairing failed", code=problem.code, cause=str(problem))
                    pending.extend(machine.fail("failed", times.boottime_s()))
    return None


async def _close(link: Link) -> None:
    """What was said last has to arrive before the link ends: they close first if they can."""
    try:
        async with asyncio.timeout(_LAST_WORD_S):
            await link.close(1000, "done")
    except TimeoutError:
        pass
