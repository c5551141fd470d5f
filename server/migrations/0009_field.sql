-- Of what a person did in each visit what is needed to see the way from one to the next, and how long they take.
-- Derived from log.
CREATE TABLE stay (
    org       INTEGER NOT NULL,
    visit     BLOB NOT NULL,
    person    BLOB NOT NULL,
    entry     BLOB NOT NULL,             -- the first recording
    began_ms  INTEGER NOT NULL,          -- when that was made, by claim
    length_ms INTEGER,                   -- until the first submission; NULL: no clock has counted it
    fixes     BLOB NOT NULL,             -- packed: the first and the last capture that say where
    PRIMARY KEY (org, visit, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX stay_person ON stay (org, person, began_ms, visit);

-- 0: the visit has changed since place, way and time were looked at, or they never were.
ALTER TABLE visit ADD COLUMN judged INTEGER NOT NULL DEFAULT 0;
CREATE INDEX visit_unjudged ON visit (org, visit) WHERE judged = 0;

-- A signal can be of a person's capture, and keeps what shows it.
ALTER TABLE signal RENAME TO signal_before;
DROP INDEX signal_open;
CREATE TABLE signal (
    org            INTEGER NOT NULL,
    visit          BLOB NOT NULL,
    kind           INTEGER NOT NULL,
    photo          BLOB NOT NULL,        -- empty: of a capture
    other          BLOB NOT NULL,        -- the photo that it is like, or the other capture; empty: none
    other_document BLOB NOT NULL,        -- what has that; empty: none, or the visit itself
    by             BLOB NOT NULL,        -- whose capture; empty: of a photo
    entry          BLOB NOT NULL,        -- the capture; empty: of a photo
    figure         INTEGER NOT NULL,     -- by kind: bits, minutes, strength, metres, km/h
    evidence       BLOB NOT NULL,        -- packed; empty: none but the figure
    found_ms       INTEGER NOT NULL,
    seen_by        BLOB,
    seen_ms        INTEGER,
    PRIMARY KEY (org, visit, kind, photo, other, other_document, by)
) STRICT, WITHOUT ROWID;
INSERT INTO signal
    SELECT org, visit, kind, photo, other, other_document, x'', x'', figure, x'', found_ms, seen_by, seen_ms
    FROM signal_before;
DROP TABLE signal_before;
CREATE INDEX signal_open ON signal (org, visit, kind, photo) WHERE seen_ms IS NULL;
-- What is like a photo is found by it when that is erased.
CREATE INDEX signal_other ON signal (org, other) WHERE other <> x'';
CREATE INDEX signal_photo ON signal (org, photo) WHERE photo <> x'';

-- Of photos that are gone nothing is to be looked at any more, and nothing is left of those that were erased on request.
UPDATE blob SET looked = 2 WHERE looked = 0 AND gone_ms IS NOT NULL;
ALTER TABLE likeness RENAME TO likeness_before;
DELETE FROM likeness_before WHERE (org, photo) IN (
    SELECT l.org, l.photo FROM look l JOIN blob b ON b.org = l.org AND b.hash = l.hash WHERE b.erased = 1);
DELETE FROM look WHERE (org, hash) IN (SELECT org, hash FROM blob WHERE erased = 1);
DELETE FROM signal WHERE photo <> x'' AND (org, photo) IN (SELECT org, hash FROM blob WHERE erased = 1);
DELETE FROM signal WHERE other <> x'' AND (org, other) IN (SELECT org, hash FROM blob WHERE erased = 1);

-- The photos whose hashes have the same bits in one of six bands, in blocks of 65,536 that are numbered one after the
-- other: each with its 8 bytes and its number in the block. Hashes that differ in few bits meet in one band at least,
-- with one bit changed. Made of likeness_before, which goes.
CREATE TABLE likeness (
    org     INTEGER NOT NULL,
    band    INTEGER NOT NULL,
    bits    INTEGER NOT NULL,
    block   INTEGER NOT NULL,
    entries BLOB NOT NULL,
    PRIMARY KEY (org, band, bits, block)
) STRICT, WITHOUT ROWID;
