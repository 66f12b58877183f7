"""Who this device is: an Ed25519 key that signs and carries TLS, an X25519 key to which secrets are sealed.

Both are PKCS #8 PEM files of mode 0600 in a folder that nobody else can write, or systemd credentials. They
are made once, together, and never again: a missing, damaged or readable key is an error that a person has to
settle, because a device with a new key is another device, and its spaces would not know it.

The certificate says nothing. OpenSSL shows a peer's certificate only when a CA vouches for it, so every
certificate is signed by a CA whose private key is public: derived from a constant below, it vouches for
anybody and proves nothing but that the peer owns the key it shows. Only the pin of that key, read in
`peerd.net.tls`, says who it is. Nothing in the certificate is personal, it is valid from 1970 to 9999, and it
is made anew with every start.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import stat
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from peerd.core.device_id import device_id
from peerd.errors import PeerdError, RemoteProtocolError

DEVICE_KEY = "device.key"
SEALING_KEY = "sealing.key"

_PUBLIC_AUTHORITY_KEY = Ed25519PrivateKey.from_private_bytes(sha256(b"peerd/1 public non-secret CA").digest())
_PUBLIC_AUTHORITY_NAME = "peerd anybody CA"
_DEVICE_NAME = "peerd"
_FIRST_DAY = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LAST_DAY = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_MAX_KEY_FILE_BYTES = 4096
_ANEW = (
    "remove it there, move identity/, spaces/ and marks/ of the state directory away, start peerd, and join again; "
    'see docs/recovery.md, "Lost keys".'
)
_PrivateKey = Ed25519PrivateKey | X25519PrivateKey


class IdentityError(PeerdError):
    """A key file that cannot be used as it is. The sentence names it, `next_step` says what to do."""

    code = "bad-identity"


class Identity:
    """This device. `device` is its id, `public_key` and `sealing_public_key` are raw (32 bytes each)."""

    def __init__(self, key: Ed25519PrivateKey, sealing_key: X25519PrivateKey) -> None:
        self._key = key
        self._sealing_key = sealing_key
        self.public_key = key.public_key().public_bytes_raw()
        self.sealing_public_key = sealing_key.public_key().public_bytes_raw()
        self.device = device_id(self.public_key)

    @classmethod
    def load_or_create(cls, folder: Path, owned: Sequence[Path] = ()) -> Identity:
        """The identity in the systemd credentials `device.key` and `sealing.key` (`CREDENTIALS_DIRECTORY`) if
        the service was given any, else the one in this folder; a new one only if the folder has neither key,
        and nothing is `owned`: files of an identity that must have been here. IdentityError for anything in between.
        """
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        if credentials and _present(Path(credentials)):
            # systemd guards these files itself; its access list shows up as group bits
            return cls._load(Path(credentials), private=False)
        if not _present(folder):
            if owned:
                raise _lost(folder, owned)
            _create(folder)
        return cls._load(folder, private=True)

    @classmethod
    def load(cls, folder: Path) -> Identity:
        """The identity whose two keys are in this folder, whoever owns them. Raises IdentityError."""
        return cls._load(folder, private=False)

    @staticmethod
    def files(folder: Path) -> dict[str, Path]:
        """The key files that `load_or_create` reads, by their names."""
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        place = Path(credentials) if credentials and _present(Path(credentials)) else folder
        return {name: place / name for name in (DEVICE_KEY, SEALING_KEY)}

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Is there a key, good or not?"""
        return bool(_present(folder))

    @classmethod
    def _load(cls, folder: Path, *, private: bool) -> Identity:
        present = _present(folder)
        for name in (DEVICE_KEY, SEALING_KEY):
            if name not in present:
                raise IdentityError(
                    f"The key {folder / name} is missing, but {folder / present[0]} is there.",
                    next_step=f"Put {name} back from a backup. If this device is in no space yet, "
                    f"delete {folder / present[0]} too, and both are made anew. Otherwise {_ANEW}",
                )
        if private:
            _check_folder(folder)
        device = _read(folder / DEVICE_KEY, private=private)
        sealing = _read(folder / SEALING_KEY, private=private)
        if not isinstance(device, Ed25519PrivateKey):
            raise _damaged(folder / DEVICE_KEY, "it holds no Ed25519 key")
        if not isinstance(sealing, X25519PrivateKey):
            raise _damaged(folder / SEALING_KEY, "it holds no X25519 key")
        return cls(device, sealing)

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature (64 bytes) of the data, which begins with a tag of its own kind."""
        return self._key.sign(data)

    @staticmethod
    def verify(public_key: bytes, signature: bytes, data: bytes) -> bool:
        """Whether the owner of this raw public key signed the data. False for anything malformed."""
        try:
            _verifier(public_key).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True

    def open(self, sealed: bytes, info: bytes, aad: bytes = b"") -> bytes:
        """The plaintext that `seal` sealed to this device with the same info and aad.
        RemoteProtocolError "bad-seal" if it was not, or was changed.
        """
        try:
            return _SUITE.decrypt(sealed, self._sealing_key, _bound(info, aad))
        except (InvalidTag, ValueError) as error:
            raise RemoteProtocolError(
                "What was sealed to this device cannot be opened: it was changed, or sealed to another key.",
                code="bad-seal",
            ) from error

    def certificate_pem(self) -> bytes:
        """A new certificate of this device followed by its private key, in PEM, for TLS. Secret."""
        certificate = _certificate(self._key.public_key(), _DEVICE_NAME, authority=False)
        return certificate.public_bytes(Encoding.PEM) + _pem(self._key)

    @staticmethod
    def authority_pem() -> bytes:
        """The certificate, in PEM, of the CA that vouches for anybody."""
        certificate = _certificate(_PUBLIC_AUTHORITY_KEY.public_key(), _PUBLIC_AUTHORITY_NAME, authority=True)
        return certificate.public_bytes(Encoding.PEM)


def public_key_of(private: bytes) -> bytes:
    """The public key of an Ed25519 key that is given by its seed (32 bytes)."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def sign_with(private: bytes, data: bytes) -> bytes:
    """The signature of an Ed25519 key that is given by its seed: of a ticket, never of this device."""
    return Ed25519PrivateKey.from_private_bytes(private).sign(data)


@lru_cache(maxsize=256)  # a catch-up verifies thousands of signatures of few devices
def _verifier(public_key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public_key)


def seal(recipient: bytes, plaintext: bytes, info: bytes, aad: bytes = b"") -> bytes:
    """The plaintext, readable only by the owner of this raw X25519 public key: HPKE (RFC 9180) in base mode
    with X25519, HKDF-SHA256 and ChaCha20-Poly1305, as enc then ciphertext. It does not say who sealed it.

    `info` and `aad` are both bound by the key schedule, as u32(length of info) + info + aad; HPKE's own aad
    is empty. ValueError if the public key has another length. Some of 32 bytes are points of small order, to which
    nothing can be sealed and which only somebody who means harm has on its card: then nobody can read it.
    """
    key = X25519PublicKey.from_public_bytes(recipient)
    try:
        return _SUITE.encrypt(plaintext, key, _bound(info, aad))
    except ValueError:
        return _SUITE.encrypt(plaintext, X25519PrivateKey.generate().public_key(), _bound(info, aad))


def _bound(info: bytes, aad: bytes) -> bytes:
    return struct.pack(">I", len(info)) + info + aad


def _certificate(key: Ed25519PublicKey, name: str, *, authority: bool) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    issuer = _PUBLIC_AUTHORITY_KEY.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(_common_name(name))
        .issuer_name(_common_name(_PUBLIC_AUTHORITY_NAME))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FIRST_DAY)
        .not_valid_after(_LAST_DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
        .sign(_PUBLIC_AUTHORITY_KEY, None)
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(key: _PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _present(folder: Path) -> list[str]:
    """Which of the two keys the folder holds, dangling links and unreadable files included."""
    return [name for name in (DEVICE_KEY, SEALING_KEY) if os.path.lexists(folder / name)]


def _check_folder(folder: Path) -> None:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o022:
        raise IdentityError(
            f"Others can write in {folder} (mode {mode:04o}), where this device keeps its keys.",
            next_step=f"chmod 700 {folder}",
        )


def _read(path: Path, *, private: bool) -> _PrivateKey | object:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            encoded = file.read(_MAX_KEY_FILE_BYTES + 1) if stat.S_ISREG(found.st_mode) else b""
    except OSError as error:
        raise IdentityError(
            f"The key {path} cannot be read: {error.strerror}.",
            next_step=f"Let the user that runs peerd own and read it: chown and chmod 600 {path}",
        ) from error
    mode = stat.S_IMODE(found.st_mode)
    if private and mode & 0o077:
        raise IdentityError(
            f"Others can use the key {path} (mode {mode:04o}).",
            next_step=f"chmod 600 {path}. If somebody may have copied it, {_ANEW}",
        )
    if private and found.st_uid != os.geteuid():
        raise IdentityError(
            f"The key {path} belongs to another user (uid {found.st_uid}).",
            next_step=f"chown it to the user that runs peerd (uid {os.geteuid()}): {path}",
        )
    if not 0 < len(encoded) <= _MAX_KEY_FILE_BYTES:
        raise _damaged(path, "it is no file of a key's size")
    try:
        return load_pem_private_key(encoded, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _damaged(path, "it is no unencrypted PKCS #8 PEM key") from error


def _damaged(path: Path, why: str) -> IdentityError:
    return IdentityError(
        f"The key {path} is damaged: {why}.",
        next_step=f"Put {path.name} back from a backup. Without one this device is lost to its spaces: {_ANEW}",
    )


def _lost(folder: Path, owned: Sequence[Path]) -> IdentityError:
    where = owned[0].parent
    return IdentityError(
        f"The keys of this device are missing in {folder}, but its spaces are there: {where} holds {owned[0].name}"
        + (f" and {len(owned) - 1} more." if len(owned) > 1 else "."),
        next_step=f"Put {DEVICE_KEY} and {SEALING_KEY} back from a backup. To begin anew as another device, "
        f'move {where} and {where.with_name("marks")} away; see docs/recovery.md, "Lost keys".',
    )


def _create(folder: Path) -> None:
    """Two new keys, durable before anybody hears of them. A key that somebody else makes meanwhile stands."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_folder(folder)
        keys: dict[str, _PrivateKey] = {
            SEALING_KEY: X25519PrivateKey.generate(),
            DEVICE_KEY: Ed25519PrivateKey.generate(),
        }
        drafts = {name: _write_draft(folder, name, _pem(key)) for name, key in keys.items()}
        try:
            for name, draft in drafts.items():
                os.link(draft, folder / name)  # unlike a rename, it never replaces a key
        except FileExistsError:
            pass
        finally:
            for draft in drafts.values():
                draft.unlink()
        _sync_folder(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        raise IdentityError(
            f"The keys of this device cannot be made in {folder}: {error.strerror}.",
            next_step="Check device.state_dir, the disk's free space and who owns the folder.",
        ) from error


def _write_draft(folder: Path, name: str, encoded: bytes) -> Path:
    draft = folder / f".{name}.{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
    return draft


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
