"""Work that stands still in the middle, in real daemons, until a test lets it go on: however fast the machine is, they
can be looked at and killed there.
"""

from __future__ import annotations

from pathlib import Path

_GATED = """
import asyncio, functools, importlib, os

def gate(where, name, passes, sign):
    *path, last = name.split(".")
    holder = functools.reduce(getattr, path, importlib.import_module(where))
    work = getattr(holder, last)
    begun = 0

    @functools.wraps(work)
    async def gated(*arguments, **named):
        nonlocal begun
        begun += 1
        while begun > passes and os.path.exists(sign):
            with open(f"{{sign}}, {{os.getpid()}} waits", "w"):
                await asyncio.sleep(0.02)
        return await work(*arguments, **named)

    setattr(holder, last, gated)

gate({where!r}, {name!r}, {passes!r}, {sign!r})
"""


class Gate:
    """In front of a coroutine function, for daemons that have its `meddle`. In each process `passes` calls go through;
    the next waits for as long as the gate is shut. It is shut at first.
    """

    def __init__(self, folder: Path, where: str, name: str, passes: int = 1) -> None:
        self._sign = folder / f"{name} is shut"
        self.meddle = _GATED.format(where=where, name=name, passes=passes, sign=str(self._sign))
        self.shut()

    def shut(self) -> None:
        self._sign.touch()

    def open(self) -> None:
        self._sign.unlink()

    def waits(self, pid: int) -> bool:
        """Has this process, which lives, come so far that it waits here?"""
        return self._sign.with_name(f"{self._sign.name}, {pid} waits").exists()
