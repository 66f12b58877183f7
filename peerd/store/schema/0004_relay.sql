-- What this copy must remember of each relay: `name` is the back end's, `memory` the courier's.
CREATE TABLE relay (
    name   TEXT PRIMARY KEY,
    memory BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The sealed segments that this copy means to leave on a relay: kept before they are sent, so that one whose answer
-- never came is sent again as the same bytes.
CREATE TABLE relay_outbox (
    relay  TEXT NOT NULL,
    stream BLOB NOT NULL,
    number INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (relay, stream, number)
) STRICT;

-- That this device asks to be let into the space, by an invitation file: the sealed petition, under which name it lies
-- on a relay, the names under which the answer may stand (msgpack), and until when it is worth asking.
CREATE TABLE petition (
    name       TEXT PRIMARY KEY,
    sealed     BLOB NOT NULL,
    answers    BLOB NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
