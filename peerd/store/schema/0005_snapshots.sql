-- A snapshot on its way in: one row while there is one. `phase` 0: its parts come; 1: it is whole, and our rows are
-- merged into it; 2: it is in place, and what it replaced is cleared away; 3: it was given up, and is cleared away.
-- `parts` are in; `progress` is what is known of them; `age_ms` is when the last one came, by the clock of `space`.
-- Its records are in `incoming_record`, which has the form of `record` and exists only meanwhile; in phase 2 it has
-- become `record`, and what was that is `former_record`.
CREATE TABLE incoming (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    id       BLOB NOT NULL CHECK (length(id) = 16),
    phase    INTEGER NOT NULL,
    parts    INTEGER NOT NULL DEFAULT 0,
    age_ms   INTEGER NOT NULL,
    progress BLOB NOT NULL
) STRICT;

-- Where the origins stand in the snapshot; `number` is what it calls them. Each has a row in `origin` too.
CREATE TABLE incoming_origin (
    origin    INTEGER PRIMARY KEY REFERENCES origin (ref),
    number    INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    head      BLOB NOT NULL,
    signature BLOB NOT NULL,
    context   BLOB NOT NULL
) STRICT;

-- Ends of runs that the snapshot names.
CREATE TABLE incoming_end (
    origin INTEGER NOT NULL REFERENCES origin (ref),
    seq    INTEGER NOT NULL,
    hash8  BLOB NOT NULL,
    PRIMARY KEY (origin, seq)
) STRICT, WITHOUT ROWID;

-- What the merging takes out of our records: it goes to `history` and `image` when the snapshot is in place.
CREATE TABLE incoming_history (
    id         INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    key        TEXT NOT NULL,
    stamps     BLOB NOT NULL,
    body       BLOB NOT NULL
) STRICT;

CREATE INDEX incoming_history_by_key ON incoming_history (collection, key);

-- The images of records that the merging takes away.
CREATE TABLE incoming_image (
    id         INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    key        TEXT NOT NULL,
    fields     BLOB NOT NULL,
    UNIQUE (collection, key)
) STRICT;
