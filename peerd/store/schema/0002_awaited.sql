-- Devices that were named by their id and may join: with which role, and until when by the wall clock.
CREATE TABLE awaited (
    device     BLOB PRIMARY KEY,
    role       TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
