-- The scrub of this copy: how far it is and what it found (one row, msgpack of `peerd.core.scrub.ScrubState`).
CREATE TABLE scrub (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    state BLOB NOT NULL
) STRICT;

-- What was wrong with this copy, by itself or beside another device's, and how it was put right ('' : not yet).
-- `stamps` and `body` are the row as it was found, where there was one.
CREATE TABLE finding (
    id         INTEGER PRIMARY KEY,
    at_ms      INTEGER NOT NULL,
    age_ms     INTEGER NOT NULL,
    found      TEXT NOT NULL,
    collection TEXT NOT NULL,
    key        TEXT NOT NULL,
    device     BLOB,
    done       TEXT NOT NULL,
    stamps     BLOB,
    body       BLOB
) STRICT;
