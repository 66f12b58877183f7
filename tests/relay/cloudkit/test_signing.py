from __future__ import annotations

from base64 import b64decode

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from peerd.relay.cloudkit import signing
from peerd.relay.cloudkit.signing import SigningKey

BODY = b'{"records":[{"recordName":"k1"}]}'
DATE = "2030-01-02T03:04:05Z"
PATH = "/database/1/iCloud.example.peerd/development/public/records/lookup"


def test_the_message_is_the_one_of_the_recipe() -> None:
    """A check value that was computed apart from this code."""
    assert signing.message(DATE, BODY, PATH).decode() == (
        "2030-01-02T03:04:05Z:sAh4LZkN4kRTKfA6xy8hg+5aMGtbYyVOSGkE6gzi3rA=:"
        "/database/1/iCloud.example.peerd/development/public/records/lookup"
    )


def test_a_date_has_no_fraction_and_ends_in_z() -> None:
    assert signing.date_of(1_893_553_445_999) == DATE


def test_the_signature_is_der_over_the_message() -> None:
    key = generate_private_key(SECP256R1())
    headers = SigningKey(key).headers("a key id", DATE, BODY, PATH)
    signature = b64decode(headers["X-Apple-CloudKit-Request-SignatureV1"])
    key.public_key().verify(signature, signing.message(DATE, BODY, PATH), ECDSA(SHA256()))
    assert signature[0] == 0x30  # a sequence, not r and s side by side
    assert headers["X-Apple-CloudKit-Request-KeyID"] == "a key id"
    assert headers["X-Apple-CloudKit-Request-ISO8601Date"] == DATE


def test_a_key_does_not_show_itself() -> None:
    key = SigningKey(generate_private_key(SECP256R1()))
    assert repr(key) == str(key) == "SigningKey()"
