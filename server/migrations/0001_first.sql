-- Every table is keyed by organisation first (a small local number), so that it can be distributed by it.

CREATE TABLE organisation (
    org        INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    seed       BLOB NOT NULL,            -- secret key of the server as an author in this organisation
    instance   BLOB NOT NULL,            -- second half of the server's actor
    origin     BLOB NOT NULL,            -- the newest of this log's lives
    frontier   BLOB NOT NULL,            -- right edge of the Merkle tree over log
    created_ms INTEGER NOT NULL
) STRICT;

-- The lives of the log: it begins a new one when it is restored from a backup.
CREATE TABLE origin (
    org      INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    origin   BLOB NOT NULL,
    PRIMARY KEY (org, sequence)
) STRICT, WITHOUT ROWID;

-- Who may see a row of the log: 0 everyone; -1 nobody any more (a newer version of the record exists).
CREATE TABLE audience (
    org         INTEGER NOT NULL,
    audience    INTEGER NOT NULL,
    territory   BLOB NOT NULL,
    distributor BLOB NOT NULL,
    PRIMARY KEY (org, audience),
    UNIQUE (org, territory, distributor)
) STRICT, WITHOUT ROWID;

-- The organisation's log is its feed and its store of changes at once.
CREATE TABLE log (
    org       INTEGER NOT NULL,
    sequence  INTEGER NOT NULL,
    leaf      BLOB NOT NULL,             -- RFC 9162 leaf hash
    root      BLOB,                      -- root over this leaf and all before, at the end of a commit
    at_ms     INTEGER NOT NULL,
    audience  INTEGER NOT NULL,
    document  BLOB,                      -- of a change: 17 bytes; of a record: NULL
    hash      BLOB,                      -- of a change: its name
    device    BLOB,                      -- of a change: who pushed it
    seal      BLOB,                      -- of a change: the signature if one names it as head
    body      BLOB NOT NULL,             -- of a change: its parts; of a record: its key
    times     BLOB,                      -- of a change: bounds and claim of its time
    PRIMARY KEY (org, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX log_document ON log (org, document, sequence) WHERE document IS NOT NULL;
CREATE INDEX log_audience ON log (org, audience, sequence);

CREATE TABLE record (
    org      INTEGER NOT NULL,
    key      BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    salt     BLOB NOT NULL,
    body     BLOB NOT NULL,
    PRIMARY KEY (org, key, sequence)
) STRICT, WITHOUT ROWID;

-- Records, and documents of outlets, that went from one audience to another at this sequence.
CREATE TABLE moved (
    org      INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    item     BLOB NOT NULL,              -- a record's key, or a document's name
    document INTEGER NOT NULL,           -- 1: a document
    left     INTEGER NOT NULL,           -- audience
    entered  INTEGER NOT NULL,           -- audience
    PRIMARY KEY (org, sequence, item, document)
) STRICT, WITHOUT ROWID;

CREATE TABLE note (
    org    INTEGER NOT NULL,
    digest BLOB NOT NULL,
    salt   BLOB NOT NULL,
    text   TEXT NOT NULL,
    PRIMARY KEY (org, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE quarantine (
    org         INTEGER NOT NULL,
    item        INTEGER NOT NULL,
    device      BLOB NOT NULL,
    document    BLOB NOT NULL,
    head        BLOB NOT NULL,
    code        TEXT NOT NULL,
    detail      TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    audience    INTEGER NOT NULL,        -- who sees its document, as far as that is known; 0: unknown
    state       TEXT NOT NULL DEFAULT 'waiting', -- then accepted, discarded or proposed_again
    decided     INTEGER,                 -- the log's size then
    decided_ms  INTEGER,
    decided_by  BLOB,                    -- NULL when its author did, by proposing it again
    body        BLOB NOT NULL,           -- the group as it came
    PRIMARY KEY (org, item),
    UNIQUE (org, device, document, head)
) STRICT, WITHOUT ROWID;

CREATE INDEX quarantine_state ON quarantine (org, state, audience, received_ms);
CREATE INDEX quarantine_discarded ON quarantine (org, device, decided) WHERE state = 'discarded';

-- Derived from log; can be rebuilt.
CREATE TABLE visit (
    org          INTEGER NOT NULL,
    visit        BLOB NOT NULL,
    outlet       BLOB NOT NULL,
    audience     INTEGER NOT NULL,
    territory    BLOB NOT NULL,
    distributor  BLOB NOT NULL,
    call         BLOB,
    day          INTEGER NOT NULL,       -- the outlet's local day of the claimed start, days since 1970
    status       TEXT NOT NULL,
    people       BLOB NOT NULL,          -- 16 bytes each
    conflicts    INTEGER NOT NULL,
    news         INTEGER NOT NULL,       -- recordings that no review covers although there is one
    photos       INTEGER NOT NULL,
    started_ms   INTEGER NOT NULL,
    submitted_ms INTEGER,
    changed_ms   INTEGER NOT NULL,
    changed      INTEGER NOT NULL,       -- newest sequence
    counted      INTEGER NOT NULL,       -- 1 when something of it is submitted
    facts        BLOB NOT NULL,          -- packed, sync_core::projection::Facts
    PRIMARY KEY (org, visit)
) STRICT, WITHOUT ROWID;
-- Lists are filtered within an index: the rows themselves are long.
CREATE INDEX visit_changed ON visit
    (org, changed, audience, status, day, outlet, people, conflicts, news);
CREATE INDEX visit_status ON visit (org, status, audience, changed);
CREATE INDEX visit_conflicts ON visit (org, audience, changed) WHERE conflicts > 0;
CREATE INDEX visit_news ON visit (org, audience, changed) WHERE news > 0;
CREATE INDEX visit_outlet ON visit (org, outlet, day);
CREATE INDEX visit_day ON visit (org, day, audience, status);
CREATE INDEX visit_call ON visit (org, call) WHERE call IS NOT NULL;

CREATE TABLE kpi_day (
    org         INTEGER NOT NULL,
    day         INTEGER NOT NULL,
    territory   BLOB NOT NULL,
    distributor BLOB NOT NULL,
    kpi         TEXT NOT NULL,
    numerator   INTEGER NOT NULL,
    denominator INTEGER NOT NULL,
    PRIMARY KEY (org, day, territory, distributor, kpi)
) STRICT, WITHOUT ROWID;

CREATE TABLE report (
    org         INTEGER NOT NULL,
    outlet      BLOB NOT NULL,
    audience    INTEGER NOT NULL,
    by          BLOB NOT NULL,
    at_ms       INTEGER NOT NULL,
    name        TEXT NOT NULL,
    address     TEXT NOT NULL,
    changed     INTEGER NOT NULL,
    PRIMARY KEY (org, outlet)
) STRICT, WITHOUT ROWID;
CREATE INDEX report_changed ON report (org, changed);

-- Photos that a recording refers to, here or not yet.
CREATE TABLE photo (
    org           INTEGER NOT NULL,
    hash          BLOB NOT NULL,
    document      BLOB NOT NULL,
    by            BLOB NOT NULL,
    referenced_ms INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    here          INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (org, hash, document)
) STRICT, WITHOUT ROWID;
CREATE INDEX photo_awaited ON photo (org, document, by) WHERE here = 0;

CREATE TABLE blob (
    org        INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    bytes      INTEGER NOT NULL,
    width      INTEGER NOT NULL,
    height     INTEGER NOT NULL,
    arrived_ms INTEGER NOT NULL,
    PRIMARY KEY (org, hash)
) STRICT, WITHOUT ROWID;

-- Photos that are on their way; how far is the length of the file.
CREATE TABLE upload (
    org        INTEGER NOT NULL,
    device     BLOB NOT NULL,
    hash       BLOB NOT NULL,
    length     INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (org, device, hash)
) STRICT, WITHOUT ROWID;

-- People's sign-ins: apart from the catalogue's pseudonyms, and erasable.
CREATE TABLE account (
    org      INTEGER NOT NULL,
    user     BLOB NOT NULL,
    email    TEXT NOT NULL UNIQUE,       -- lower case
    password TEXT,                       -- argon2id; NULL while only devices are used
    PRIMARY KEY (org, user)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    token      BLOB PRIMARY KEY,         -- SHA-256 of the cookie
    org        INTEGER NOT NULL,
    user       BLOB NOT NULL,
    csrf       TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_user ON session (org, user);

CREATE TABLE enrolment (
    code       BLOB PRIMARY KEY,         -- SHA-256 of the one-time code
    org        INTEGER NOT NULL,
    user       BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    device     BLOB                      -- who has used it
) STRICT, WITHOUT ROWID;
CREATE INDEX enrolment_user ON enrolment (org, user);

CREATE TABLE device (
    org         INTEGER NOT NULL,
    device      BLOB NOT NULL,
    user        BLOB NOT NULL,
    key         BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    token       BLOB NOT NULL UNIQUE,    -- SHA-256 of the bearer token
    label       TEXT NOT NULL,
    enrolled_ms INTEGER NOT NULL,
    synced_ms   INTEGER,
    revoked_ms  INTEGER,
    last_push   BLOB,                    -- name of the newest push
    acked       INTEGER NOT NULL DEFAULT 0, -- lines of the log that it is known to know, noted when rights change
    forked      INTEGER NOT NULL DEFAULT 0, -- pushes that did not follow the newest: a copied store
    PRIMARY KEY (org, device),
    UNIQUE (org, fingerprint)
) STRICT, WITHOUT ROWID;

-- Written and emptied again to see whether the disk takes more.
CREATE TABLE probe (body BLOB NOT NULL) STRICT;
