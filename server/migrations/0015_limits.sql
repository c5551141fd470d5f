-- What an answer takes with a change besides its own bytes: those of the notes that it names.
ALTER TABLE log ADD COLUMN notes INTEGER NOT NULL DEFAULT 0;

-- What a refused group costs as long as it is kept, its notes and rows among it.
ALTER TABLE quarantine ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX quarantine_kept ON quarantine (org, device, state, bytes);

-- The changes of refused groups, to find what comes again.
CREATE TABLE quarantine_change (
    org      INTEGER NOT NULL,
    device   BLOB NOT NULL,
    document BLOB NOT NULL,
    hash     BLOB NOT NULL,
    item     INTEGER NOT NULL,
    PRIMARY KEY (org, device, document, hash, item)
) STRICT, WITHOUT ROWID;
