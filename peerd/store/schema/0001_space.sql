-- The database of one space. README.md in this folder says how the pieces fit and what the forms of the blobs are.

-- One row: what this copy is and where it stands. `own_origin` is the origin that writes here, NULL when there is none
-- that may go on; `token` is drawn at every opening and compared with the mark file; `position` is the last one given
-- to a run and never given again; `age_ms` is how long this database has been in use by a running daemon, the clock of
-- everything that is forgotten with age; `digest` is 256 sums of 64 bits; `visible` counts the records with a birth.
CREATE TABLE space (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    id            BLOB NOT NULL CHECK (length(id) = 16),
    copy_id       BLOB NOT NULL CHECK (length(copy_id) = 16),
    name          TEXT NOT NULL,
    feature_level INTEGER NOT NULL DEFAULT 1,
    own_origin    INTEGER REFERENCES origin (ref),
    token         BLOB NOT NULL,
    position      INTEGER NOT NULL DEFAULT 0,
    age_ms        INTEGER NOT NULL DEFAULT 0,
    visible       INTEGER NOT NULL DEFAULT 0,
    digest        BLOB NOT NULL CHECK (length(digest) = 2048)
) STRICT;

-- Every origin that this copy has heard of; other tables name it by `ref`, which is local, small and never reused.
-- (`device`, `admission`, `nonce`) are its announcement. `seq`, `head`, `signature` and `context` are the end of what
-- was applied: the chain's hash there, the signature of the run that ended there and the clock its author had, so that
-- they survive the trimming of the log. The log holds this origin's transactions after `horizon`.
CREATE TABLE origin (
    ref       INTEGER PRIMARY KEY,
    id        BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    device    BLOB NOT NULL,
    admission BLOB NOT NULL,
    nonce     BLOB NOT NULL,
    seq       INTEGER NOT NULL,
    horizon   INTEGER NOT NULL DEFAULT 0,
    head      BLOB NOT NULL,
    signature BLOB NOT NULL DEFAULT x'',
    context   BLOB NOT NULL
) STRICT;

-- The collections, numbered here, and how many visible records each has.
CREATE TABLE collection (
    number  INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    visible INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The records. `stamps` and `body` are the stored form of `peerd.core.record_form` with refs for origins; `share` is
-- what the record adds to the digest, its 64 bits read as a signed number; `flags` is 0 for nearly all, 1 parked,
-- 2 several values in a field, 4 a restore is uncovered.
CREATE TABLE record (
    id         INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL REFERENCES collection (number),
    key        TEXT NOT NULL,
    flags      INTEGER NOT NULL DEFAULT 0,
    share      INTEGER NOT NULL,
    stamps     BLOB NOT NULL,
    body       BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX record_by_key ON record (collection, key);

CREATE INDEX record_flagged ON record (collection, key) WHERE flags <> 0;

-- The log: runs in the order in which they were applied here. `entries` are the very bytes that their author encoded.
-- `head` is the chain's hash at `last`. `arrived_ms` is wall time, for people; `age_ms` decides when it may be trimmed.
CREATE TABLE run (
    position   INTEGER PRIMARY KEY,
    origin     INTEGER NOT NULL REFERENCES origin (ref),
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    arrived_ms INTEGER NOT NULL,
    age_ms     INTEGER NOT NULL,
    head       BLOB NOT NULL,
    signature  BLOB NOT NULL,
    entries    BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX run_by_origin ON run (origin, last);

-- Run ends that outlive their run, thinned with age, so that two copies can find the last position both have and
-- compare what they hold there. Ends of runs that are still in the log are not repeated here.
CREATE TABLE run_end (
    origin INTEGER NOT NULL REFERENCES origin (ref),
    seq    INTEGER NOT NULL,
    hash8  BLOB NOT NULL,
    PRIMARY KEY (origin, seq)
) STRICT, WITHOUT ROWID;

-- What changes dropped: values and births, in the stored form, and the transaction that dropped them. Rows are added
-- in the order of `age_ms` and forgotten from the front.
CREATE TABLE history (
    id         INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    key        TEXT NOT NULL,
    by_origin  INTEGER NOT NULL,
    by_seq     INTEGER NOT NULL,
    age_ms     INTEGER NOT NULL,
    stamps     BLOB NOT NULL,
    body       BLOB NOT NULL
) STRICT;

CREATE INDEX history_by_key ON history (collection, key);

-- What a record looked like when a delete took it, for the restore of one that an edit brought back. Replacing a row
-- gives it a new `id`, so that ids stay in the order of `age_ms`.
CREATE TABLE image (
    id         INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    key        TEXT NOT NULL,
    by_origin  INTEGER,
    by_seq     INTEGER,
    age_ms     INTEGER NOT NULL,
    fields     BLOB NOT NULL,
    UNIQUE (collection, key)
) STRICT;

-- The roster: signed statements as their authors encoded them, in the order in which they came. It only grows.
CREATE TABLE statement (
    number    INTEGER PRIMARY KEY,
    id        BLOB NOT NULL UNIQUE,
    bytes     BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;

-- Other devices as they were last seen, and what they have said that they hold.
CREATE TABLE peer (
    device    BLOB PRIMARY KEY,
    name      TEXT NOT NULL,
    addresses BLOB NOT NULL,
    seen_ms   INTEGER NOT NULL,
    acks      BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Runs that wait for what they depend on. They name their origin in full, since it may be unknown here; a number is
-- never given twice, because it is remembered across transactions.
CREATE TABLE staged (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    origin     BLOB NOT NULL,
    first      INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    signature  BLOB NOT NULL,
    entries    BLOB NOT NULL
) STRICT;
