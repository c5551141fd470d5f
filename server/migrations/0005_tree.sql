-- The tree over the log as tiles: the roots of full tiles of the level below, made after the log has grown past them.
-- Derived from log; what is missing is computed.
CREATE TABLE node (
    org   INTEGER NOT NULL,
    level INTEGER NOT NULL,              -- of the tile that it is a hash of: from 1 on
    place INTEGER NOT NULL,              -- in its level
    hash  BLOB NOT NULL,
    PRIMARY KEY (org, level, place)
) STRICT, WITHOUT ROWID;

-- The public key that signs checkpoints of a life of the log; NULL: its leaf names none.
ALTER TABLE origin ADD COLUMN key BLOB;

-- Who may read the entries of the log without being a device: a distributor, or a witness.
CREATE TABLE mirror (
    token      BLOB PRIMARY KEY,         -- SHA-256 of the bearer token
    org        INTEGER NOT NULL,
    label      TEXT NOT NULL,
    by         BLOB NOT NULL,            -- who gave it out
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Devices' keys that a manager of their distributor has confirmed; each is a line of the log.
CREATE TABLE confirmation (
    org         INTEGER NOT NULL,
    device      BLOB NOT NULL,
    sequence    INTEGER NOT NULL,
    by          BLOB NOT NULL,
    PRIMARY KEY (org, device)
) STRICT, WITHOUT ROWID;
