-- The log is trimmed. `trimmed` is the highest position whose run has gone: whoever reads the log from before it has
-- missed something. (`synced_age_ms`, `synced_wall_ms`): how old the database was, and what the wall clock said, when
-- the kernel last called that clock synchronised. `log_bytes` are those of all runs, `history_bytes` those of all values
-- of the local history.
ALTER TABLE space ADD COLUMN trimmed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE space ADD COLUMN synced_age_ms INTEGER;
ALTER TABLE space ADD COLUMN synced_wall_ms INTEGER;
ALTER TABLE space ADD COLUMN log_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE space ADD COLUMN history_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE space SET log_bytes = (SELECT coalesce(sum(size_bytes), 0) FROM run);
UPDATE space SET history_bytes = (SELECT coalesce(sum(length(body)), 0) FROM history);

-- How old the database was when the device was last heard of, or admitted as far as was heard here.
ALTER TABLE peer ADD COLUMN heard_age_ms INTEGER NOT NULL DEFAULT 0;
UPDATE peer SET heard_age_ms = (SELECT age_ms FROM space);

-- Not used: of one origin the ends that come later are the younger ones, and they are thinned by that.
ALTER TABLE run_end ADD COLUMN age_ms INTEGER NOT NULL DEFAULT 0;

-- How much of an origin's log is how old is counted without reading the log.
DROP INDEX run_by_origin;
CREATE INDEX run_by_origin ON run (origin, last, age_ms, size_bytes);
