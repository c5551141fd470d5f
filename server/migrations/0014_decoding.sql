-- Photos that are being decoded, and how often that began and did not end: then the process died of it, or meanwhile.
CREATE TABLE decoding (
    org      INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    tries    INTEGER NOT NULL,
    tried_ms INTEGER NOT NULL,
    PRIMARY KEY (org, hash)
) STRICT, WITHOUT ROWID;
