"""The published vectors of relays: made from fixed keys. HPKE draws chance of its own, so a published head is opened
and not made again.

    python -m tests.relay.relay_vectors > tests/relay/vectors/relay.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from peerd import identity as identities
from peerd.core.padding import padded_size
from peerd.core.roster import epochs
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay import objects as relay_objects
from peerd.protocol.relay import roster as relay_roster
from peerd.relay.heads import seal_head
from peerd.relay.packing import pack
from peerd.relay.sealing import seal_object
from tests.relay.scene import (
    FIRST,
    FIRST_SECRET,
    NAMES_KEY,
    SECOND,
    SECOND_SECRET,
    SPACE,
    STREAM,
    Chance,
    a_head,
    head_name,
    identity,
    noise,
    signed,
)

FILE = Path(__file__).parent / "vectors" / "relay.json"
DESK, LAPTOP = identity("desk"), identity("laptop")
NONCE = noise(24, "nonce")
PLAINTEXT = b"what is in a segment"
PART = b"p" * 16
_SIZES = (0, 4_096, 4_097, 10_000, 100_000, 400_000, 524_288)


def vectors() -> dict[str, Any]:
    name = relay_names.segment_name(NAMES_KEY, STREAM, 1)
    chain = relay_objects.first_chain(STREAM)
    head = signed(DESK, a_head())
    return {
        "padded sizes": {str(size): padded_size(size) for size in _SIZES},
        "space": SPACE.hex(),
        "secrets": [FIRST_SECRET.hex(), SECOND_SECRET.hex()],
        "names key": NAMES_KEY.hex(),
        "keys": [{key: value.hex() for key, value in one._asdict().items()} for one in (FIRST, SECOND)],
        "stream": STREAM.hex(),
        "device": DESK.device.hex(),
        "names": {
            "head": head_name(DESK),
            "segment 1": name,
            "part 0": relay_names.part_name(NAMES_KEY, PART, 0),
            "roster part": relay_names.roster_name(NAMES_KEY, PART),
        },
        "object": {
            "name": name,
            "nonce": NONCE.hex(),
            "plaintext": PLAINTEXT.hex(),
            "packed begins": pack(PLAINTEXT, 49)[:40].hex(),
            "sealed under the first secret": seal_object(name, PLAINTEXT, FIRST, NONCE).hex(),
        },
        "chain": {
            "before": chain.hex(),
            "sealed": b"sealed".hex(),
            "after": relay_objects.next_chain(chain, b"sealed").hex(),
        },
        "roster part": {
            "bytes": b"statements".hex(),
            "id": relay_roster.part_id(DESK.device, b"statements").hex(),
            "secret under the first": epochs.roster_part_secret(SPACE, FIRST_SECRET, PART).hex(),
        },
        "head": {
            "body": head.data.hex(),
            "public key": DESK.public_key.hex(),
            "signature": head.signature.hex(),
            "sealing key of a member": LAPTOP._sealing_key.private_bytes_raw().hex(),
            "sealed under the second secret": _sealed_head(),
        },
    }


def _sealed_head() -> str:
    return seal_head(
        head_name(DESK),
        signed(DESK, a_head()),
        SPACE,
        SECOND,
        [DESK.sealing_public_key, LAPTOP.sealing_public_key],
        seal=identities.seal,
        chance=Chance(),
    ).hex()


if __name__ == "__main__":
    json.dump(vectors(), sys.stdout, indent=1)
    sys.stdout.write("\n")
