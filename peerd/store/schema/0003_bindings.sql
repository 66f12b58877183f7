-- Bindings of this device: which tables of which application's database belong to this space. They do not travel.
-- `plan` is what was decided for each table, `settings` what the person set. (`note_origin`, `note_seq`) is the
-- transaction that this binding caused last, and `note` what its file has to be told when that is durable: a crash in
-- between leaves both here. A number is never given twice, because the file remembers it.
CREATE TABLE binding (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL UNIQUE,
    database    TEXT NOT NULL,
    plan        BLOB NOT NULL,
    settings    BLOB NOT NULL,
    note        BLOB,
    note_origin BLOB,
    note_seq    INTEGER
) STRICT;
