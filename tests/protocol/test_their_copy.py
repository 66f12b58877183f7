"""What the other side says of its copy, and what that means beside ours."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core import digest
from peerd.core.limits import CONTEXT_ORIGINS
from peerd.errors import RemoteProtocolError
from peerd.protocol.effects import Acked, CheckPositions, Compared, RolledBack
from peerd.protocol.messages import Summary
from peerd.protocol.their_copy import TheirCopy, log_reaches, positions_to_check

Factory = Any  # the fixtures of conftest
THEIRS = b"one of theirs..."


@pytest.fixture
def desk(copies: Factory) -> Any:
    """It wrote two transactions."""
    desk = copies("desk", "laptop")[0]
    desk.write("a", "b")
    return desk


def summary(desk: Any, *positions: tuple[bytes, int, bytes], their_digest: bytes = bytes(16)) -> Summary:
    return Summary(desk.roster.space, list(positions), their_digest, horizon={THEIRS: 4})


def test_it_is_summed_up_once(desk: Any) -> None:
    theirs = TheirCopy()
    theirs.summed_up(summary(desk))
    with pytest.raises(RemoteProtocolError, match="a second SUMMARY"):
        theirs.summed_up(summary(desk))


def test_what_a_summary_means_beside_ours(desk: Any) -> None:
    theirs, held = TheirCopy(), digest.summary(desk.state.digest)
    (at,) = desk.state.positions()
    assert theirs.meet(summary(desk, (THEIRS, 7, bytes(8))), desk.state, desk.origin) == [
        Acked({THEIRS: 7}, whole=True)
    ]
    assert (theirs.behind(desk.state), theirs.ahead(desk.state)) == (7, 2)
    for their_digest, equal in ((held, True), (bytes(16), False)):
        effects = theirs.meet(summary(desk, at, their_digest=their_digest), desk.state, desk.origin)
        assert effects == [Acked({desk.origin: 2}, whole=True), Compared(equal=equal)]
    further = (desk.origin, 3, b"........")
    assert RolledBack(desk.origin) in theirs.meet(summary(desk, further), desk.state, desk.origin)
    assert RolledBack(desk.origin) not in theirs.meet(summary(desk, further), desk.state, None)


def test_of_a_fork_no_digests_are_compared(desk: Any) -> None:
    """At equal clocks two histories of one origin hold different data; neither copy is damaged."""
    theirs, fork = TheirCopy(), (desk.origin, 2, b"........")
    assert theirs.meet(summary(desk, fork), desk.state, desk.origin) == [Acked({desk.origin: 2}, whole=True)]
    assert theirs.compared(bytes(16), desk.state) == []


def test_it_only_grows_by_what_they_say_later_and_to_a_bound(desk: Any) -> None:
    theirs = TheirCopy()
    theirs.know({desk.origin: 2, THEIRS: 1})
    theirs.know({desk.origin: 1, THEIRS: 3})
    assert theirs.clock == {desk.origin: 2, THEIRS: 3}
    with pytest.raises(RemoteProtocolError) as caught:
        theirs.know({number.to_bytes(16): 1 for number in range(2 * CONTEXT_ORIGINS)})
    assert (caught.value.code, caught.value.close_code) == ("too-large", 4413)


def test_who_can_go_on_with_their_log(desk: Any) -> None:
    assert log_reaches(summary(desk), {THEIRS: 4})
    assert not log_reaches(summary(desk), {THEIRS: 3})


def test_we_check_the_positions_up_to_ours(desk: Any) -> None:
    here, beyond = (desk.origin, 2, b"here...."), (THEIRS, 1, b"theirs..")
    assert positions_to_check(summary(desk, here, beyond), desk.state.clock()) == CheckPositions([here])
