-- How long photos stay here after they came, in days, and how many bytes they may take; NULL: without limit.
ALTER TABLE organisation ADD COLUMN photo_days INTEGER;
ALTER TABLE organisation ADD COLUMN photo_quota INTEGER;
-- The bytes of the photos that are here.
ALTER TABLE organisation ADD COLUMN photo_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE organisation SET photo_bytes =
    (SELECT coalesce(sum(bytes), 0) FROM blob b WHERE b.org = organisation.org);

-- SHA-256 of the small pictures; NULL: they are to be drawn.
ALTER TABLE blob ADD COLUMN thumbnail BLOB;
ALTER TABLE blob ADD COLUMN preview BLOB;
-- Since when its bytes are gone, for the time was over or, with erased = 1, on request. NULL: it is here.
-- photo.here is 0 for one that is awaited, 1 for one that is here, 2 for one that is gone.
ALTER TABLE blob ADD COLUMN gone_ms INTEGER;
ALTER TABLE blob ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;
CREATE INDEX blob_arrived ON blob (org, arrived_ms) WHERE gone_ms IS NULL;
CREATE INDEX blob_undrawn ON blob (org, hash) WHERE gone_ms IS NULL AND preview IS NULL;

-- Photos whose files are to be removed.
CREATE TABLE unlink (
    org  INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (org, hash)
) STRICT, WITHOUT ROWID;

-- What the leaf of a record commits to, where the name in it was erased and so its body is another.
ALTER TABLE record ADD COLUMN digest BLOB;

-- What was erased on request. The log has a record of each.
CREATE TABLE erasure (
    org      INTEGER NOT NULL,
    id       BLOB NOT NULL,              -- of the record
    what     TEXT NOT NULL,              -- photo, note or person
    digest   BLOB,                       -- of a photo or a note
    at_ms    INTEGER NOT NULL,
    by       BLOB,                       -- NULL: from the command line
    why      TEXT NOT NULL,
    sequence INTEGER NOT NULL,           -- the record's line
    removed  TEXT NOT NULL,              -- JSON: what was removed
    PRIMARY KEY (org, id)
) STRICT, WITHOUT ROWID;
