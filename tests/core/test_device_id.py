from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.device_id import device_id, format_device_id, parse_device_id, short_id
from peerd.errors import UserError

ids = st.binary(min_size=32, max_size=32)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def test_it_is_the_hash_of_the_der_public_key() -> None:
    """The id is the SHA-256 of what the cryptography library writes as the key's SubjectPublicKeyInfo."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert device_id(key.public_bytes_raw()) == hashlib.sha256(spki).digest()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_or_id_of_another_size_is_a_bug(size: int) -> None:
    """Only 32 bytes are a key, and only 32 bytes are an id."""
    for function in (device_id, format_device_id, short_id):
        with pytest.raises(ValueError, match="32"):
            function(bytes(size))


def test_the_text_form_is_fixed() -> None:
    """A vector: what people have written down must be readable by every later version."""
    assert format_device_id(bytes(32)) == "AAAAAAA-AAAAAAA-AAAAAAA-AAAAAAA-AAAAAAA-AAAAAAA-AAAAAAA-AAAAAAA"
    text = "AAAQEAY-EAUDAO5-CAJBIFQ-YDIOB4X-IBCEQTC-QKRMFYM-YDENBWH-A5DYPQS"
    device = bytes(range(32))
    groups = format_device_id(device).split("-")
    assert [len(group) for group in groups] == [7] * 8
    assert format_device_id(device) == text
    assert parse_device_id(text) == device
    assert short_id(device) == "AAAQEAYE"


@given(ids)
def test_what_is_shown_can_be_typed(device: bytes) -> None:
    """Formatting and parsing are inverse, with case, dashes and spaces of no account."""
    text = format_device_id(device)
    assert parse_device_id(text) == device
    assert parse_device_id(f"  {text.lower().replace('-', ' ')}\n") == device
    assert text.replace("-", "").startswith(short_id(device))


@given(ids)
def test_digits_that_look_like_letters_are_read_as_letters(device: bytes) -> None:
    """0, 1 and 8 do not occur, so they can only be O, I and B."""
    misread = format_device_id(device).translate(str.maketrans("OIB", "018"))
    assert parse_device_id(misread) == device


@given(ids, st.integers(0, 55), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_found(device: bytes, place: int, wrong: str) -> None:
    """Whatever single character is mistyped, the id is refused."""
    characters = format_device_id(device).replace("-", "")
    mistyped = characters[:place] + wrong + characters[place + 1 :]
    if mistyped == characters:
        return
    with pytest.raises(UserError) as refused:
        parse_device_id(mistyped)
    assert refused.value.code == "bad-device-id"


def test_the_error_says_where_to_look() -> None:
    """A wrong character is located to a pair of groups, a wrong length is counted, a stray sign is named."""
    text = format_device_id(bytes(32))
    cases = {
        text[:18] + "B" + text[19:]: "groups 3 and 4",
        text[:-1]: "55",
        text[:-1] + "!": "'!'",
        "": "0",
    }
    for typed, expected in cases.items():
        with pytest.raises(UserError, match=expected):
            parse_device_id(typed)


def test_bits_beyond_the_hash_are_refused() -> None:
    """52 characters hold four bits more than a hash; set, they would be a second spelling of the same id."""
    text = format_device_id(bytes(32)).replace("-", "")
    others = 0
    for last in ALPHABET[1:16]:
        for check in ALPHABET:
            with pytest.raises(UserError) as refused:
                parse_device_id(text[:-2] + last + check)
            others += "last characters" in str(refused.value)
    assert others == 15


@given(st.text(max_size=120))
def test_any_text_is_an_id_or_refused(text: str) -> None:
    """No text makes the parser fail in another way."""
    try:
        device = parse_device_id(text)
    except UserError:
        return
    assert len(device) == 32
