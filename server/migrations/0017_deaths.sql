-- What is being decoded now is no death: only what a process left so when it ended.
ALTER TABLE decoding RENAME COLUMN tries TO deaths;
ALTER TABLE decoding ADD COLUMN running INTEGER NOT NULL DEFAULT 0;
