"""The bytes of an invitation file, and the code that opens it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import UserError
from peerd.protocol.pairing import invitation_file
from peerd.protocol.pairing.invitation_file import InvitationFile

INVITATION = InvitationFile(b"s" * 16, "home", b"n" * 32, b"t" * 16, b"k" * 32, 5, [])


@given(st.binary(min_size=16, max_size=16))
def test_a_code_is_read_however_it_is_typed(code: bytes) -> None:
    """In lower case, with blanks for dashes, and with digits that look like letters."""
    shown = invitation_file.show_code(code)
    assert len(shown.replace("-", "")) == invitation_file.CODE_CHARS
    assert invitation_file.read_code(shown) == code
    assert invitation_file.read_code(f" {shown.lower().replace('-', ' ')} ") == code
    assert invitation_file.read_code(shown.replace("O", "0").replace("I", "1").replace("B", "8")) == code


@pytest.mark.parametrize("text", ["", "12345678", "A" * 25, "A" * 27, "A" * 25 + "!", "A" * 25 + "B", "Ä" * 26])
def test_what_is_no_code_is_refused(text: str) -> None:
    """Too short, too long, other characters, and bits at the end that no code has."""
    with pytest.raises(UserError) as refused:
        invitation_file.read_code(text)
    assert refused.value.code == "bad-code"


def test_each_code_has_a_secret_of_its_own() -> None:
    one, other = invitation_file.file_secret(b"a" * 16), invitation_file.file_secret(b"b" * 16)
    assert one != other
    assert len(one) == 32


def test_an_invitation_is_read_as_it_was_written() -> None:
    assert invitation_file.decode(invitation_file.encode(INVITATION)) == INVITATION


@given(st.binary(max_size=200))
def test_what_is_no_invitation_is_refused(data: bytes) -> None:
    with pytest.raises(UserError) as refused:
        invitation_file.decode(data)
    assert refused.value.code == "bad-invitation"
    assert refused.value.next_step.startswith("Look at the code")


def test_only_files_of_this_kind_are_opened() -> None:
    assert invitation_file.sealed_part(invitation_file.MAGIC + b"sealed") == b"sealed"
    for file in (
        b"",
        b"sealed",
        invitation_file.MAGIC.replace(b"1", b"2") + b"x",
        invitation_file.MAGIC + bytes(2 << 20),
    ):
        with pytest.raises(UserError) as refused:
            invitation_file.sealed_part(file)
        assert refused.value.code == "bad-invitation"
