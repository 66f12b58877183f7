"""What is published of relays (PROTOCOL.md, "Relays") is what is done, and never changes."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd.core.roster import epochs
from peerd.identity import Identity
from peerd.protocol.relay import objects as relay_objects
from peerd.relay.heads import open_head
from peerd.relay.sealing import open_object
from tests.relay import relay_vectors
from tests.relay.scene import FIRST, SECOND, SPACE, identity

PUBLISHED: dict[str, Any] = json.loads(relay_vectors.FILE.read_text(encoding="utf-8"))


def without_sealed_head(vectors: dict[str, Any]) -> dict[str, Any]:
    return {**vectors, "head": {**vectors["head"], "sealed under the second secret": None}}


def test_the_published_vectors_are_still_made() -> None:
    assert without_sealed_head(relay_vectors.vectors()) == without_sealed_head(PUBLISHED)


def test_the_published_object_is_opened() -> None:
    one = PUBLISHED["object"]
    sealed = bytes.fromhex(one["sealed under the first secret"])
    assert open_object(one["name"], sealed, [SECOND, FIRST]).hex() == one["plaintext"]


def test_the_published_head_is_opened_by_the_epoch_and_by_a_member() -> None:
    one = PUBLISHED["head"]
    sealed, name = bytes.fromhex(one["sealed under the second secret"]), PUBLISHED["names"]["head"]
    member = Identity(
        identity("anybody")._key, X25519PrivateKey.from_private_bytes(bytes.fromhex(one["sealing key of a member"]))
    )
    for keys, who in (([SECOND], identity("anybody")), ([FIRST], member)):
        head = open_head(name, sealed, SPACE, keys, unseal=who.open)
        assert (head.device.hex(), head.signature.hex(), head.data.hex()) == (
            PUBLISHED["device"],
            one["signature"],
            one["body"],
        )
    said = relay_objects.head_signing_input(SPACE, head.device, head.data)
    assert Identity.verify(bytes.fromhex(one["public key"]), head.signature, said)


def test_the_published_keys_come_from_the_secrets() -> None:
    for secret, keys in zip(PUBLISHED["secrets"], PUBLISHED["keys"], strict=True):
        made = epochs.relay_keys(bytes.fromhex(PUBLISHED["space"]), bytes.fromhex(secret))
        assert {name: key.hex() for name, key in made._asdict().items()} == keys
