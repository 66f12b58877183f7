"""Sizes that say little: Padmé (Nikitin, Barman, Lueks, Underwood, Hubaux, Ford: "Reducing Metadata Leakage from
Encrypted Files and Communication with PURBs", PETS 2019, section 4), and at least 4 KiB.

A size is a binary floating point number whose mantissa has no more bits than its exponent. So O(log log size) bits of a
size are seen, and at most 12 % is added, less the larger it is.
"""

from __future__ import annotations

LEAST_BYTES = 4 << 10


def padded_size(size_bytes: int) -> int:
    """The size to which something of this size is padded: never smaller, and the same for all sizes in between."""
    if size_bytes <= LEAST_BYTES:
        return LEAST_BYTES
    exponent = size_bytes.bit_length() - 1
    zeros = (1 << exponent - exponent.bit_length()) - 1
    return (size_bytes + zeros) & ~zeros
