"""Which transactions something holds: per origin, intervals of sequence numbers.

A clock cannot say that of a stream of segments, because a device leaves only what the relay lacks. Several coverages
and a snapshot together make the relay's clock: per origin, how far everything is held without a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from peerd.core.clocks import Clock, ReadClock

CLAIMS = 2_000  # spans in a head, in all

Span: TypeAlias = tuple[int, int]  # first, last
Spans: TypeAlias = list[Span]
Coverage: TypeAlias = dict[bytes, Spans]
ReadCoverage: TypeAlias = Mapping[bytes, Sequence[Span]]


def merged(spans: Iterable[Span]) -> Spans:
    """The same numbers in as few spans as possible, in order. What is no span (the claim of a stranger) is left out."""
    result: Spans = []
    for first, last in sorted(span for span in spans if 1 <= span[0] <= span[1]):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


def union(coverages: Iterable[ReadCoverage]) -> Coverage:
    together: dict[bytes, list[Span]] = {}
    for coverage in coverages:
        for origin, spans in coverage.items():
            together.setdefault(origin, []).extend(spans)
    return {origin: found for origin, spans in together.items() if (found := merged(spans))}


def holds(coverage: ReadCoverage, origin: bytes, first: int, last: int) -> bool:
    """Are all of these in one of its spans? Spans must be merged."""
    return any(span[0] <= first and last <= span[1] for span in coverage.get(origin, ()))


def tops(coverage: ReadCoverage) -> Clock:
    """The highest number of each origin. Spans must be merged."""
    return {origin: spans[-1][1] for origin, spans in coverage.items() if spans}


def extended(clock: ReadClock, coverage: ReadCoverage) -> Clock:
    """How far somebody at `clock` gets with what `coverage` holds, without a gap. Spans must be merged."""
    result = dict(clock)
    for origin, spans in coverage.items():
        seq = result.get(origin, 0)
        for first, last in spans:
            if first > seq + 1:
                break
            seq = max(seq, last)
        if seq:
            result[origin] = seq
    return result


def adds_to(coverage: ReadCoverage, clock: ReadClock) -> bool:
    """Does it hold anything that somebody at `clock` lacks? Spans must be merged."""
    return any(spans[-1][1] > clock.get(origin, 0) for origin, spans in coverage.items() if spans)


def claim(coverage: ReadCoverage, per_origin: int, total: int) -> Coverage:
    """As much of it as may be said: the lowest spans of each origin, `total` spans in all. Saying less than is there
    costs an upload, never data.
    """
    said: Coverage = {}
    for origin in sorted(coverage):
        some = list(coverage[origin][: min(per_origin, total)])
        if some:
            said[origin] = some
            total -= len(some)
    return said
