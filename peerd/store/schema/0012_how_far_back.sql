-- When the last run arrived that was trimmed, and when the last value was dropped that was forgotten: what came later is
-- all here. NULL: nothing has gone, or before this was noted.
ALTER TABLE space ADD COLUMN trimmed_ms INTEGER;
ALTER TABLE space ADD COLUMN forgotten_ms INTEGER;
ALTER TABLE space DROP COLUMN forgotten_age_ms;
