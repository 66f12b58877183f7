"""A relay in memory: four operations on names, and what storage does to those who trust it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random


@dataclass
class Storage:
    objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # name: tag, data
    writes: int = 0
    harmed: bool = False  # it lost or changed something

    def _tag(self) -> str:
        self.writes += 1
        return f"t{self.writes}"

    def lookup(self, names: list[str]) -> dict[str, tuple[str, bytes]]:
        return {name: self.objects[name] for name in names if name in self.objects}

    def create(self, name: str, data: bytes) -> bool:
        """False if other bytes are there."""
        if name in self.objects:
            return self.objects[name][1] == data
        self.objects[name] = (self._tag(), data)
        return True

    def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        there = self.objects.get(name)
        if (there[0] if there else None) != tag:
            return None
        self.objects[name] = (self._tag(), data)
        return self.objects[name][0]

    def delete(self, names: list[str]) -> None:
        for name in names:
            self.objects.pop(name, None)

    # ---- what befalls it

    def saved(self) -> dict[str, tuple[str, bytes]]:
        return dict(self.objects)

    def roll_back(self, saved: dict[str, tuple[str, bytes]]) -> None:
        self.harmed = True
        self.objects = dict(saved)

    def lose(self, random: Random, share: float) -> None:
        self.harmed = True
        for name in sorted(self.objects):
            if random.random() < share:
                del self.objects[name]

    def tamper(self, random: Random) -> None:
        self.harmed = True
        if self.objects:
            name = random.choice(sorted(self.objects))
            _, data = self.objects[name]
            self.objects[name] = (self._tag(), b"?" + data[1:])

    @property
    def size_bytes(self) -> int:
        return sum(len(data) for _, data in self.objects.values())
