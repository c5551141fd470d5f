-- What the server saw in a photo that is here: so that one that was used before is found. Derived from the files.
CREATE TABLE look (
    org    INTEGER NOT NULL,
    photo  INTEGER NOT NULL,             -- its number in the index
    hash   BLOB NOT NULL,
    sketch BLOB NOT NULL,                -- 32 by 32 grey points
    screen INTEGER NOT NULL,             -- how much it looks like a screen
    PRIMARY KEY (org, photo),
    UNIQUE (org, hash)
) STRICT;

-- Each photo's 64 bits once for each band, turned so that the band comes first: those that differ in few bits lie
-- beside each other in one band at least.
CREATE TABLE likeness (
    org    INTEGER NOT NULL,
    band   INTEGER NOT NULL,
    turned INTEGER NOT NULL,
    photo  INTEGER NOT NULL,
    PRIMARY KEY (org, band, turned, photo)
) STRICT, WITHOUT ROWID;

-- 0: the server has yet to look at it. 2: it could not be read.
ALTER TABLE blob ADD COLUMN looked INTEGER NOT NULL DEFAULT 0;
CREATE INDEX blob_unlooked ON blob (org, hash) WHERE looked = 0;
ALTER TABLE photo ADD COLUMN judged INTEGER NOT NULL DEFAULT 0;
CREATE INDEX photo_unjudged ON photo (org, hash) WHERE judged = 0 AND here = 1;

-- What is worth a look in a visit. It accuses nobody.
CREATE TABLE signal (
    org            INTEGER NOT NULL,
    visit          BLOB NOT NULL,
    kind           INTEGER NOT NULL,
    photo          BLOB NOT NULL,        -- empty: of the visit as a whole
    other          BLOB NOT NULL,        -- the photo that it is like; empty: none
    other_document BLOB NOT NULL,        -- what refers to that
    figure         INTEGER NOT NULL,     -- by kind: bits, minutes, strength
    found_ms       INTEGER NOT NULL,
    seen_by        BLOB,
    seen_ms        INTEGER,
    PRIMARY KEY (org, visit, kind, photo, other, other_document)
) STRICT, WITHOUT ROWID;
CREATE INDEX signal_open ON signal (org, visit, kind, photo) WHERE seen_ms IS NULL;

-- What the organisation thinks of each kind; those that are missing weigh what is usual.
CREATE TABLE signal_weight (
    org    INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    PRIMARY KEY (org, kind)
) STRICT, WITHOUT ROWID;
