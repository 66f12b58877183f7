"""Server-to-server signatures of CloudKit Web Services (Apple, "Composing Web Service Requests").

    message   = DATE ":" base64(SHA-256(body)) ":" path
    signature = base64(DER(ECDSA-P256-SHA256(message)))

The body is hashed first and the message again when it is signed. A wrong clock, key, body or path all give the same
answer, 401, so the bytes that are signed here are exactly the ones that are sent.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

KEY_ID_HEADER = "X-Apple-CloudKit-Request-KeyID"
DATE_HEADER = "X-Apple-CloudKit-Request-ISO8601Date"
SIGNATURE_HEADER = "X-Apple-CloudKit-Request-SignatureV1"


class SigningKey:
    """The private half of a server-to-server key. Nothing that prints it shows it."""

    __slots__ = ("_key",)

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "SigningKey()"

    def headers(self, key_id: str, date: str, body: bytes, path: str) -> Mapping[str, str]:
        """The three headers of a request. `path` begins with /database/."""
        signature = self._key.sign(message(date, body, path), ECDSA(SHA256()))
        return {KEY_ID_HEADER: key_id, DATE_HEADER: date, SIGNATURE_HEADER: b64encode(signature).decode()}


def message(date: str, body: bytes, path: str) -> bytes:
    return f"{date}:{b64encode(sha256(body).digest()).decode()}:{path}".encode()


def date_of(wall_ms: int) -> str:
    """UTC without fractions of a second, as it is signed and sent."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_ms // 1000))
