-- Who made the snapshot that comes in; NULL for one that began before this was kept.
ALTER TABLE incoming ADD COLUMN device BLOB;

-- Whose snapshot took the place of this copy last, and when, by the wall clock, for people: what it knows of earlier times
-- begins there. `taken_agreed` is 1 once the copy has had the same digest as that of another member at an equal clock.
ALTER TABLE space ADD COLUMN taken_from BLOB;
ALTER TABLE space ADD COLUMN taken_ms INTEGER;
ALTER TABLE space ADD COLUMN taken_agreed INTEGER NOT NULL DEFAULT 0;
