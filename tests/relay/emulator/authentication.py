"""Is a request signed with a key of this container, over these very bytes, lately?"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from tests.relay.emulator.refused import Refused, unauthenticated

WINDOW_S = 600.0

_PREFIX = "X-Apple-CloudKit-Request-"
KEY_HEADER = _PREFIX + "KeyID"
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def authenticate(
    headers: Mapping[str, str],
    path: str,
    body: bytes,
    keys: Mapping[str, EllipticCurvePublicKey],
    now: float,
    window_s: float = WINDOW_S,
) -> str:
    """The id of the key. Raises Refused: 400 without any credentials, else the same 401 whatever is wrong."""
    key_id, date, signature = (headers.get(_PREFIX + name) for name in ("KeyID", "ISO8601Date", "SignatureV1"))
    if key_id is None and date is None and signature is None:
        raise Refused("BAD_REQUEST", "missing authentication credentials")
    if key_id is None or date is None or signature is None or key_id not in keys or not _DATE.fullmatch(date):
        raise unauthenticated()
    try:
        signed = datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        message = f"{date}:{b64encode(sha256(body).digest()).decode()}:{path}".encode()
        keys[key_id].verify(b64decode(signature, validate=True), message, ECDSA(SHA256()))
    except (ValueError, InvalidSignature):
        raise unauthenticated() from None
    if abs(signed - now) > window_s:
        raise unauthenticated()
    return key_id
