-- 1: the copy that is being taken in holds another history than the one in its place, after a fork.
ALTER TABLE recopy ADD COLUMN forked INTEGER NOT NULL DEFAULT 0;
