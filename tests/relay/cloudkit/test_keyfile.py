from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from peerd.errors import RelayTrouble
from peerd.relay.cloudkit.keyfile import CREDENTIAL, read_key
from peerd.relay.cloudkit.signing import SigningKey

KEY = generate_private_key(SECP256R1())
SEC1 = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PKCS8 = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
# What `openssl ecparam -genkey` writes in front without -noout.
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


def write(file: Path, content: bytes, mode: int = 0o600) -> Path:
    file.touch(0o600)
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("content", [SEC1, PKCS8, PARAMETERS + SEC1], ids=["sec1", "pkcs8", "parameters"])
def test_what_openssl_makes_is_read(tmp_path: Path, content: bytes) -> None:
    assert isinstance(read_key(write(tmp_path / "k.pem", content), {}), SigningKey)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(RelayTrouble, match=re.escape(f"(mode {mode:04o})")) as caught:
        read_key(write(tmp_path / "k.pem", SEC1, mode), {})
    assert caught.value.lasting
    assert caught.value.code == "relay-misconfigured"
    assert "chmod 600" in caught.value.next_step


WRONG = {
    "public": KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "locked": KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")),
    "curve": generate_private_key(SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    "kind": Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    "text": b"hello",
    "empty": b"",
    "large": SEC1 + b" " * 10_000,
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_what_is_no_such_key_is_refused_without_a_word_of_it(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(RelayTrouble) as caught:
        read_key(write(tmp_path / "k.pem", content), {})
    told = f"{caught.value} {caught.value.next_step} {caught.value!r}"
    assert str(tmp_path / "k.pem") in told
    assert not any(line in told for line in content.decode().splitlines() if len(line) > 8)
    assert caught.value.__cause__ is None


def test_a_file_that_is_missing_or_none(tmp_path: Path) -> None:
    with pytest.raises(RelayTrouble, match="No such file"):
        read_key(tmp_path / "none", {})
    with pytest.raises(RelayTrouble):
        read_key(tmp_path, {})
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(RelayTrouble, match="no file of a key's size"):
        read_key(tmp_path / "pipe", {})


def test_a_credential_is_guarded_by_systemd(tmp_path: Path) -> None:
    write(tmp_path / CREDENTIAL, SEC1, 0o440)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_key(tmp_path / "none", environ)
    with pytest.raises(RelayTrouble, match="mode 0440"):
        read_key(tmp_path / CREDENTIAL, {})
    (tmp_path / CREDENTIAL).unlink()
    assert read_key(write(tmp_path / "k.pem", SEC1), environ)  # credentials for something else


def test_a_key_that_is_not_there_is_to_be_put_there(tmp_path: Path) -> None:
    with pytest.raises(RelayTrouble, match="No such file") as caught:
        read_key(tmp_path / "k.pem", {})
    assert "relay.cloudkit.key_file" in caught.value.next_step
    assert "chmod" not in caught.value.next_step
