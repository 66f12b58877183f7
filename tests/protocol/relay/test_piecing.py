"""A large run and its pieces."""

from __future__ import annotations

from peerd.core.chain import Run
from peerd.protocol.relay import piecing
from peerd.protocol.relay.objects import PIECE_BYTES, Piece, cut
from peerd.protocol.relay.piecing import Fit, Piecing

RUN = Run(bytes(16), 7, (bytes(3 * PIECE_BYTES),), bytes(64))
PIECES = cut(RUN)


def test_pieces_in_order_make_the_run() -> None:
    pieces = Piecing()
    given = [pieces.add(10 + number, piece, []) for number, piece in enumerate(PIECES)]
    assert given == [Fit.KEPT] * (len(PIECES) - 1) + [RUN]
    assert pieces.numbers == list(range(10, 10 + len(PIECES)))


def test_a_piece_without_what_comes_before_it_is_early() -> None:
    pieces = Piecing()
    assert pieces.add(11, PIECES[1], []) is Fit.EARLY
    pieces.add(10, PIECES[0], [])
    assert pieces.add(12, PIECES[2], []) is Fit.EARLY


def test_pieces_that_do_not_belong_together_are_malformed() -> None:
    pieces = Piecing()
    pieces.add(10, PIECES[0], [])
    assert pieces.add(11, PIECES[2], []) is Fit.MALFORMED
    pieces.drop()
    pieces.add(10, Piece(0, 2, b"no run"), [])
    assert pieces.add(11, Piece(1, 2, b" at all"), []) is Fit.MALFORMED


def test_a_run_that_begins_again_lets_go_of_the_earlier_pieces() -> None:
    pieces = Piecing()
    pieces.add(10, PIECES[0], [])
    pieces.add(11, PIECES[0], [])
    assert pieces.numbers == [11]


def test_no_run_is_longer_than_the_longest_entry() -> None:
    pieces = Piecing()
    large = bytes(8 << 20)
    given = [pieces.add(number, Piece(number, 1000, large), []) for number in range(9)]
    assert given[:8] == [Fit.KEPT] * 8
    assert given[8] is Fit.MALFORMED
    assert 9 * len(large) > piecing._LONGEST_BYTES
