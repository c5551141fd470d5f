-- The device that brought refused work for its author's device; NULL when that brought it itself.
ALTER TABLE quarantine ADD COLUMN courier BLOB;
