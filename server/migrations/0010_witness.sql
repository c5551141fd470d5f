-- Who co-signs the log: what each witness has signed last of the newest life, and what it said when it was asked last.
CREATE TABLE cosignature (
    org      INTEGER NOT NULL,
    witness  TEXT NOT NULL,              -- its vkey
    life     BLOB NOT NULL,              -- of the log
    size     INTEGER NOT NULL,           -- of the checkpoint that it has signed; 0: none of this life
    line     TEXT,                       -- its signature, a line of a signed note; NULL: none
    signed_s INTEGER,                    -- when, by its own clock, in seconds since 1970 UTC
    asked_ms INTEGER NOT NULL,           -- when it was asked last
    refused  TEXT,                       -- why it did not sign then; NULL: it did
    PRIMARY KEY (org, witness)
) STRICT, WITHOUT ROWID;
