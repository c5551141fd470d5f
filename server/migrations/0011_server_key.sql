-- Keys that the server has had in an organisation before: what was sealed to them is opened still.
CREATE TABLE former_key (
    org    INTEGER NOT NULL,
    number INTEGER NOT NULL,             -- 1: the first
    seed   BLOB NOT NULL,
    PRIMARY KEY (org, number)
) STRICT, WITHOUT ROWID;
