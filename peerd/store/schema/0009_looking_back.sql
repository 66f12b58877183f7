-- When things happened here, by the wall clock: for people who look back. What decides is the order of the log; this
-- only finds the place in it that a time means.

-- When the transaction that dropped a value arrived, so that it is known when its run is trimmed. 0: nobody knows.
ALTER TABLE history ADD COLUMN arrived_ms INTEGER NOT NULL DEFAULT 0;

UPDATE history SET arrived_ms = coalesce(
    (SELECT arrived_ms FROM run WHERE origin = by_origin AND last >= by_seq ORDER BY last LIMIT 1), 0);

CREATE INDEX run_by_arrival ON run (arrived_ms);

-- Transactions that did not come one by one: a snapshot brought what is left of `first` to `last`, all at once.
CREATE TABLE leap (
    origin     INTEGER NOT NULL REFERENCES origin (ref),
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    arrived_ms INTEGER NOT NULL,
    age_ms     INTEGER NOT NULL,
    PRIMARY KEY (origin, last)
) STRICT, WITHOUT ROWID;

-- History that is older than this has been forgotten, by the clock of `age_ms`; 0: none.
ALTER TABLE space ADD COLUMN forgotten_age_ms INTEGER NOT NULL DEFAULT 0;
