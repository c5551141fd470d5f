-- What each audience of the log sees, as one sum: sync_core::print::Print. Counted when this is made.
CREATE TABLE print (
    org      INTEGER NOT NULL,
    audience INTEGER NOT NULL,
    print    BLOB NOT NULL,
    PRIMARY KEY (org, audience)
) STRICT, WITHOUT ROWID;
