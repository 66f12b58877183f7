"""The receiving half of a session: what is owed, and runs that come in parts."""

from __future__ import annotations

import pytest

from peerd.errors import RemoteProtocolError
from peerd.protocol.inflow import Inflow
from peerd.protocol.messages import Part

SPACE, ORIGIN = b"s" * 16, b"o" * 16


def test_a_part_that_skips_one_is_refused() -> None:
    inflow = Inflow()
    inflow.part(Part(SPACE, ORIGIN, 1, 0, 3, b"a"))
    with pytest.raises(RemoteProtocolError) as refused:
        inflow.part(Part(SPACE, ORIGIN, 1, 2, 3, b"c"))
    assert refused.value.code == "malformed"
