-- That a copy which was set aside is being taken in: one row while that goes on. `name` is its file; `removes` 0: it may
-- have lost records; `collection` and `key` are the last record that is done.
CREATE TABLE recopy (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    name       TEXT NOT NULL,
    removes    INTEGER NOT NULL,
    collection TEXT NOT NULL,
    key        TEXT NOT NULL
) STRICT;
