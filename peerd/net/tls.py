"""TLS 1.3 with a certificate on both sides, and the one place where a connection becomes an identity.

OpenSSL verifies certificates against a CA that vouches for anybody (see `peerd.identity`), so a finished
handshake proves that the peer owns the key in its certificate and nothing else. `peer_device` says whose key
that is; the listener and the dialer compare it before a byte of WebSocket is spoken.

Traps that were met: without a CA, CERT_NONE and CERT_OPTIONAL never show a client's certificate; a context
swapped in an SNI callback keeps the old verify mode and lets clients without certificate in; in TLS 1.3 a
refused client believes the handshake succeeded and learns of it when it reads; "tls-unique" returns bytes that
TLS 1.3 does not define.
"""

from __future__ import annotations

import os
import ssl
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from peerd.core.device_id import device_id

# X509_V_FLAG_NO_CHECK_TIME, for which Python has no name: a device whose clock stands at the epoch must still
# connect, and the dates in a certificate that anybody can make say nothing.
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)


class Identity(Protocol):
    """What a connection needs of this device."""

    device: bytes

    def certificate_pem(self) -> bytes:
        """Certificate and private key."""

    def authority_pem(self) -> bytes:
        """The CA that every peer's certificate is signed by."""


def server_context(identity: Identity) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER, identity)
    context.num_tickets = 0  # a resumed session would skip the client's certificate
    return context


def client_context(identity: Identity) -> ssl.SSLContext:
    return _context(ssl.PROTOCOL_TLS_CLIENT, identity)


def peer_device(ssl_object: ssl.SSLObject | None) -> bytes | None:
    """The id of the device at the other end of a finished handshake, which owns the key it showed.
    None if there is no TLS, no certificate, or no Ed25519 key in it.
    """
    encoded = ssl_object.getpeercert(binary_form=True) if ssl_object is not None else None
    if not encoded:
        return None
    try:
        key = x509.load_der_x509_certificate(encoded).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return device_id(key.public_bytes_raw()) if isinstance(key, Ed25519PublicKey) else None


def _context(role: ssl._SSLMethod, identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(role)
    context.check_hostname = False  # a device has no host name of its own; it is its key
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT | _NO_CHECK_TIME
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=identity.authority_pem().decode("ascii"))
    _load_certificate(context, identity.certificate_pem())
    return context


def _load_certificate(context: ssl.SSLContext, pem: bytes) -> None:
    """`ssl` takes keys from files only. This file has no name and never touches a disk."""
    descriptor = os.memfd_create("peerd-tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
