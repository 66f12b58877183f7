"""What goes wrong, when a test says so, or by seeded chance.

throttle, throttle503   THROTTLED, with `retry_after` in the body or also in a header; asking too early is noted
later                   TRY_AGAIN_LATER, without a word of when
internal, quota, denied, toolarge, auth, unknown   a whole-request error with that code
html, truncated, garbage, huge, redirect           answers that are none
drop                    the connection ends before anything is done
lose                    everything is done, and then the connection ends: the answer never comes
slow                    the answer comes after `seconds`
element                 one record of a 200 is refused with `code` and nothing done for it
omit                    done, but one record is left out of the answer
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

BEFORE = frozenset(
    {"throttle", "throttle503", "later", "internal", "html", "drop", "quota", "denied", "toolarge", "auth", "unknown"}
    | {"garbage", "huge", "redirect"}
)
WEATHER = ("later", "internal", "html", "drop", "lose", "truncated", "element", "omit")


@dataclass
class Fault:
    """Does `do` on the next `times` requests that match `on` ("records/*", "cdn/upload"), after `skip` of them."""

    do: str
    on: str = "*"
    times: int = 1
    skip: int = 0
    retry_after: float | None = None
    code: str = "TRY_AGAIN_LATER"
    seconds: float = 0.0


@dataclass
class Faults:
    scripted: list[Fault] = field(default_factory=list)
    rate: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def add(self, do: str, on: str = "*", **more: object) -> None:
        self.scripted.append(Fault(do, on, **more))  # type: ignore[arg-type] # the fields of Fault

    def weather(self, rate: float, seed: int) -> None:
        """From now on, that share of requests has a fault that passes."""
        self.rate = rate
        self._chance = random.Random(seed)

    def next(self, operation: str) -> Fault | None:
        for fault in self.scripted:
            if not fnmatchcase(operation, fault.on):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.times -= 1
            if not fault.times:
                self.scripted.remove(fault)
            return fault
        if self._chance.random() < self.rate:
            return Fault(self._chance.choice(WEATHER))
        return None
