-- How old the database was when the run was staged: what waits for too long is dropped.
ALTER TABLE staged ADD COLUMN age_ms INTEGER NOT NULL DEFAULT 0;
UPDATE staged SET age_ms = (SELECT age_ms FROM space);
