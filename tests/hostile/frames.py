"""Frames that nobody should send: random ones, and proper ones with something wrong in their bytes or their sense."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import zstandard

from peerd.protocol.messages import ALL

NUMBERS = (-1, 0, 1, 127, 128, 255, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63))
WORDS = ("", "s", "\0", "../", "x" * 600, "\u202e", "é" * 70)
_encoder = msgspec.msgpack.Encoder()


class Frames:
    """A source of bad frames, made from good ones. The same seed gives the same frames."""

    def __init__(self, chance: random.Random, good: Sequence[bytes]) -> None:
        self._chance = chance
        self._good = [frame for frame in good if len(frame) < 8_000] or [b"\x93\x01\x00\x80"]

    def next(self) -> bytes:
        chance = self._chance
        kind = chance.randrange(10)
        if kind == 0:
            return chance.randbytes(chance.choice((0, 1, 5, 40, 400, 4000)))
        if kind == 1:
            return _encoder.encode((chance.choice(ALL).type, chance.choice((0, 7)), self._anything(3)))
        if kind == 2:
            return _encoder.encode((chance.randrange(128, 256), 0, self._anything(3)))  # optional: ignored
        if kind == 3:
            return zstandard.ZstdCompressor().compress(self._bytes(chance.choice(self._good)))
        if kind in {4, 5}:
            return self._bytes(chance.choice(self._good))
        return self._sense(chance.choice(self._good))

    def _bytes(self, frame: bytes) -> bytes:
        chance, data = self._chance, bytearray(frame)
        for _ in range(chance.choice((1, 1, 2, 6))):
            at = chance.randrange(len(data) + 1)
            to = min(len(data), at + chance.choice((1, 2, 16)))
            match chance.randrange(4):
                case 0 if at < len(data):
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    del data[at:to]
                case 2:
                    data[at:at] = data[at:to] * 3
                case _:
                    data[at:to] = chance.randbytes(to - at)
        return bytes(data)

    def _sense(self, frame: bytes) -> bytes:
        """A frame that can be read, with one part of it replaced."""
        try:
            kind, request, body = msgspec.msgpack.decode(frame)
            return _encoder.encode((kind, request, self._changed(body)))
        except (msgspec.MsgspecError, ValueError, TypeError):  # a compressed one
            return self._bytes(frame)

    def _changed(self, value: Any) -> Any:
        chance = self._chance
        if isinstance(value, dict) and value and chance.random() < 0.9:
            key = chance.choice(list(value))
            if chance.random() < 0.1:
                return {name: one for name, one in value.items() if name != key}
            return {**value, key: self._changed(value[key])}
        if isinstance(value, list) and value and chance.random() < 0.8:
            at = chance.randrange(len(value))
            match chance.randrange(6):
                case 0:
                    return value * chance.choice((2, 20))
                case 1:
                    return value[:at] + value[at + 1 :]
                case _:
                    return [*value[:at], self._changed(value[at]), *value[at + 1 :]]
        if isinstance(value, bytes) and chance.random() < 0.7:
            return self._bytes(value) if chance.random() < 0.5 else chance.randbytes(len(value))
        if isinstance(value, int) and chance.random() < 0.7:
            return chance.choice((*NUMBERS, value + 1, max(0, value - 1)))
        return self._anything(2)

    def _anything(self, depth: int) -> Any:
        chance = self._chance
        kind = chance.randrange(8 if depth else 6)
        if kind == 0:
            return chance.choice(NUMBERS)
        if kind == 1:
            return chance.choice(WORDS)
        if kind == 2:
            return chance.randbytes(chance.choice((0, 8, 16, 32, 64)))
        if kind == 3:
            return None
        if kind == 4:
            return chance.random() * 1e300
        if kind == 5:
            return chance.random() < 0.5
        if kind == 6:
            return [self._anything(depth - 1) for _ in range(chance.randrange(5))]
        keys = ("s", "d", "r", "o", "c", "b", "p", "st", "spaces", "v", "boot", "n", "t", "g", "q", "of", "zzz")
        return {chance.choice(keys): self._anything(depth - 1) for _ in range(chance.randrange(6))}
