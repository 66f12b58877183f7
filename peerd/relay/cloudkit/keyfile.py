"""Where the private key of a server-to-server key comes from: a file that nobody else can read, or a systemd
credential. It is read again after every failure, so that putting it right needs no restart.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from peerd.errors import RelayTrouble
from peerd.relay.cloudkit.signing import SigningKey

CREDENTIAL = "cloudkit.pem"
_MAX_BYTES = 8192
_MAKE_ONE = 'docs/cloudkit.md, "A key", shows how one is made.'


def read_key(file: Path, environ: Mapping[str, str] = os.environ) -> SigningKey:
    """The key in the systemd credential `cloudkit.pem` if the service was given one, else in this file.

    Raises:
        RelayTrouble: relay-misconfigured, lasting. Its sentence names the file and never what is in it.

    """
    credentials = environ.get("CREDENTIALS_DIRECTORY", "")
    credential = Path(credentials) / CREDENTIAL
    # systemd guards credentials itself; its access list shows up as group bits.
    guarded = bool(credentials) and os.path.lexists(credential)
    file = credential if guarded else file
    encoded = _read(file, guarded=guarded)
    try:
        key = load_pem_private_key(encoded, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise _bad(f"{file} holds no unencrypted P-256 private key in PEM.", _MAKE_ONE)
    return SigningKey(key)


def _read(file: Path, *, guarded: bool) -> bytes:
    try:  # a FIFO in its place must not stop the daemon
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            found = os.fstat(opened.fileno())
            encoded = opened.read(_MAX_BYTES + 1) if stat.S_ISREG(found.st_mode) else b""
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        raise _bad(
            f"The private key {file} cannot be read: {error.strerror}.",
            f"Put it there, or correct relay.cloudkit.key_file. {_MAKE_ONE}"
            if absent
            else f"Let the user that runs peerd own and read it: chown and chmod 600 {file}",
        ) from None
    mode = stat.S_IMODE(found.st_mode)
    if not guarded and mode & 0o077:
        raise _bad(
            f"Others can use the private key {file} (mode {mode:04o}).",
            f"chmod 600 {file}; if somebody may have copied it, make another key and revoke this one in the Console.",
        )
    if not 0 < len(encoded) <= _MAX_BYTES:
        raise _bad(f"{file} is no file of a key's size.", _MAKE_ONE)
    return encoded


def _bad(message: str, next_step: str) -> RelayTrouble:
    return RelayTrouble(message, code="relay-misconfigured", next_step=next_step, lasting=True)
