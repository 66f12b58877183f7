-- Bindings of this device: which tables of which application's database belong to this space. They do not travel.
-- `plan` is what was decided for each table, `settings` what the person set. (`note_origin`, `note_seq`) is the
-- transaction that this binding caused last, and `note` what its file has to be told when that is durable: a crash in
-- between leaves both here. `id` stands in the file too.
CREATE TABLE binding (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    name        TEXT NOT NULL UNIQUE,
    database    TEXT NOT NULL,
    plan        BLOB NOT NULL,
    settings    BLOB NOT NULL,
    note        BLOB,
    note_origin BLOB,
    note_seq    INTEGER
) STRICT, WITHOUT ROWID;
