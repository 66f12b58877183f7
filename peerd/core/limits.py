"""Protocol constants: what any receiver enforces, every author enforces first.

They may only grow, and only with the feature level of a space; otherwise a write that one device accepted could be
neither applied nor skipped by another, and everything of its author would wait behind it.
"""

from __future__ import annotations

ENTRY_BYTES = 64 << 20
RUN_ENTRIES = 1_000
RUN_BYTES = 256 << 10  # unless one entry alone is larger
CHANGES_PER_TRANSACTION = 100_000
FIELDS_PER_RECORD = 4_096
KEY_BYTES = 1_024
COLLECTION_BYTES = 255
FIELD_NAME_BYTES = 255
VALUE_DEPTH = 16
CONTEXT_ORIGINS = 10_000

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
