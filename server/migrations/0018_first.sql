-- Every table is keyed by organisation first (a small local number), so that it can be distributed by it.

CREATE TABLE organisation (
    org        INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    seed       BLOB NOT NULL,            -- secret key of the server as an author in this organisation
    instance   BLOB NOT NULL,            -- second half of the server's actor
    origin     BLOB NOT NULL,            -- the newest of this log's lives
    frontier   BLOB NOT NULL,            -- right edge of the Merkle tree over log
    created_ms INTEGER NOT NULL,
    keep_days  INTEGER,                  -- so long phones keep a visit after its newest change; NULL: for ever
    photo_days INTEGER,                  -- so long photos stay here after they came; NULL: for ever
    photo_quota INTEGER,                 -- bytes that photos may take; NULL: without limit
    photo_bytes INTEGER NOT NULL DEFAULT 0, -- bytes of those that are here
    radius_m   INTEGER NOT NULL DEFAULT 150, -- an outlet reaches so far around its position, if its record says nothing else
    observation_ms INTEGER NOT NULL DEFAULT 1000 -- looking at one thing and writing it down takes so long at least
) STRICT;

-- The lives of the log: it begins a new one when it is restored from a backup.
CREATE TABLE origin (
    org      INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    origin   BLOB NOT NULL,
    key      BLOB NOT NULL,              -- public, signs the checkpoints of this life
    PRIMARY KEY (org, sequence)
) STRICT, WITHOUT ROWID;

-- Who may see a row of the log: 0 everyone; -1 nobody any more (a newer version of the record exists). The lines of a
-- visit that phones do not keep any more have -1 - a instead of a.
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
    age_ms    INTEGER,                   -- how old it was when its device sent it, by the clock since that was started
    notes     INTEGER NOT NULL DEFAULT 0, -- of a change: bytes of the notes that it names
    PRIMARY KEY (org, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX log_document ON log (org, document, sequence) WHERE document IS NOT NULL;
CREATE INDEX log_audience ON log (org, audience, sequence);

-- What each audience of the log sees, as one sum: sync_core::print::Print.
CREATE TABLE print (
    org      INTEGER NOT NULL,
    audience INTEGER NOT NULL,
    print    BLOB NOT NULL,
    PRIMARY KEY (org, audience)
) STRICT, WITHOUT ROWID;

-- The tree over the log as tiles: the roots of full tiles of the level below, made after the log has grown past them.
-- Derived from log; what is missing is computed.
CREATE TABLE node (
    org   INTEGER NOT NULL,
    level INTEGER NOT NULL,              -- of the tile that it is a hash of: from 1 on
    place INTEGER NOT NULL,              -- in its level
    hash  BLOB NOT NULL,
    PRIMARY KEY (org, level, place)
) STRICT, WITHOUT ROWID;

-- Who may read the entries of the log without being a device: a distributor, or a witness.
CREATE TABLE mirror (
    token      BLOB PRIMARY KEY,         -- SHA-256 of the bearer token
    org        INTEGER NOT NULL,
    label      TEXT NOT NULL,
    by         BLOB NOT NULL,            -- who gave it out
    created_ms INTEGER NOT NULL,
    used_ms    INTEGER                   -- when it was last used, to within an hour
) STRICT, WITHOUT ROWID;

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

CREATE TABLE record (
    org      INTEGER NOT NULL,
    key      BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    salt     BLOB NOT NULL,
    body     BLOB NOT NULL,
    digest   BLOB,                       -- what its leaf commits to, where a name was erased and the body is another
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
    settled  INTEGER NOT NULL DEFAULT 0, -- 1: the database's files had nothing of it any more
    PRIMARY KEY (org, id)
) STRICT, WITHOUT ROWID;

-- Work that was refused, and what became of it.
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
    state       TEXT NOT NULL DEFAULT 'waiting', -- then accepted, arrived, discarded or proposed_again
    decided     INTEGER,                 -- the log's size then
    decided_ms  INTEGER,
    decided_by  BLOB,                    -- NULL when its author did, by proposing it again
    body        BLOB NOT NULL,           -- the group as it came
    digest      BLOB,                    -- SHA-256 of body; NULL: that is not kept any more
    courier     BLOB,                    -- who brought it for its device; NULL: that did
    bytes       INTEGER NOT NULL DEFAULT 0, -- what it costs as long as it is kept, notes and rows among it
    PRIMARY KEY (org, item),
    UNIQUE (org, device, document, head)
) STRICT, WITHOUT ROWID;

CREATE INDEX quarantine_state ON quarantine (org, state, audience, received_ms);
-- What became of a device's refused work, to tell it.
CREATE INDEX quarantine_decided ON quarantine (org, device, decided)
    WHERE state IN ('accepted', 'arrived', 'discarded');
CREATE INDEX quarantine_kept ON quarantine (org, device, state, bytes);
-- What waits of a document, whenever something comes for it.
CREATE INDEX quarantine_document ON quarantine (org, document, state, device, head);

-- The changes of refused groups, to find what comes again.
CREATE TABLE quarantine_change (
    org      INTEGER NOT NULL,
    document BLOB NOT NULL,
    hash     BLOB NOT NULL,
    device   BLOB NOT NULL,
    item     INTEGER NOT NULL,
    PRIMARY KEY (org, document, hash, device, item)
) STRICT, WITHOUT ROWID;

-- The photos that refused groups name, and of a change that does not read whatever may be one: what is kept apart is not
-- searched for each.
CREATE TABLE quarantine_photo (
    org  INTEGER NOT NULL,
    item INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (org, item, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX quarantine_photo_hash ON quarantine_photo (org, hash);

-- How many changes of a refused group are not in the log, and how many of those its device's person has not written; and
-- who wrote all of it, if that is one person: it need not be read whenever one of them comes.
CREATE TABLE quarantine_left (
    org    INTEGER NOT NULL,
    item   INTEGER NOT NULL,
    lacks  INTEGER NOT NULL,
    others INTEGER NOT NULL,
    author BLOB,
    PRIMARY KEY (org, item)
) STRICT, WITHOUT ROWID;

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
    let_go       INTEGER NOT NULL DEFAULT 0, -- 1: phones do not keep it any more
    contest      TEXT,                   -- its most urgent contest that counts: open, asked or accepted; NULL: none
    judged       INTEGER NOT NULL DEFAULT 0, -- 0: it has changed since place, way and time were looked at
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
CREATE INDEX visit_kept ON visit (org, changed_ms)
    WHERE let_go = 0 AND status NOT IN ('in_progress', 'sent_back');
CREATE INDEX visit_contest ON visit (org, audience, changed) WHERE contest IS NOT NULL;
CREATE INDEX visit_unjudged ON visit (org, visit) WHERE judged = 0;

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

CREATE TABLE kpi_day (
    org         INTEGER NOT NULL,
    day         INTEGER NOT NULL,
    territory   BLOB NOT NULL,
    distributor BLOB NOT NULL,
    kpi         TEXT NOT NULL,
    numerator   INTEGER NOT NULL,
    denominator INTEGER NOT NULL,
    contested_numerator   INTEGER NOT NULL DEFAULT 0, -- the part that comes from contested visits
    contested_denominator INTEGER NOT NULL DEFAULT 0,
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

-- Who names which photo in which document, here or not yet. Each person has their own row, so that nobody's word takes the
-- place of another's. One file may be named in ever so many documents: the key is such that who sees it is read without
-- reading them all.
CREATE TABLE photo (
    org           INTEGER NOT NULL,
    hash          BLOB NOT NULL,
    document      BLOB NOT NULL,
    by            BLOB NOT NULL,
    audience      INTEGER NOT NULL,      -- who sees the document, as its lines in the log have it
    referenced_ms INTEGER NOT NULL,      -- first, by claim
    bytes         INTEGER NOT NULL,
    here          INTEGER NOT NULL DEFAULT 0, -- for who sees the document. 0: awaited; 1: here; 2: gone
    judged        INTEGER NOT NULL DEFAULT 0, -- 0: it was named again or taken back since what it is like was looked at, or that never was; 2: nothing that stands names it
    earliest_ms   INTEGER,               -- not recorded before this, as the log proves it; NULL: nothing does
    received_ms   INTEGER,               -- when the server had it first
    PRIMARY KEY (org, hash, audience, by, document)
) STRICT, WITHOUT ROWID;
CREATE INDEX photo_awaited ON photo (org, document, by) WHERE here = 0;
-- Those of outlets' histories, whose audience moves. A visit keeps its own, and its photos are many.
CREATE INDEX photo_moves ON photo (org, document) WHERE document >= x'01';
-- Which of the documents were the first that name a photo.
CREATE INDEX photo_first ON photo (org, hash, referenced_ms) WHERE here <> 0;
CREATE INDEX photo_unjudged ON photo (org, hash) WHERE judged = 0 AND here <> 0;

-- Whose references give sight of a photo: a device of theirs has brought it, somebody has who may for a document in which
-- they name it, or they saw it. Of others it is awaited, whatever is here.
CREATE TABLE bearer (
    org  INTEGER NOT NULL,
    hash BLOB NOT NULL,
    user BLOB NOT NULL,
    PRIMARY KEY (org, hash, user)
) STRICT, WITHOUT ROWID;

CREATE TABLE blob (
    org        INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    bytes      INTEGER NOT NULL,
    width      INTEGER NOT NULL,
    height     INTEGER NOT NULL,
    arrived_ms INTEGER NOT NULL,
    looked     INTEGER NOT NULL DEFAULT 0, -- 0: the server has yet to look at it; 2: it could not be read
    thumbnail  BLOB,                     -- SHA-256 of the small picture; NULL: it is to be drawn
    preview    BLOB,                     -- the same
    gone_ms    INTEGER,                  -- since when its bytes are gone; NULL: it is here
    erased     INTEGER NOT NULL DEFAULT 0, -- 1: on request; 0: its time was over
    PRIMARY KEY (org, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_unlooked ON blob (org, hash) WHERE looked = 0;
CREATE INDEX blob_arrived ON blob (org, arrived_ms) WHERE gone_ms IS NULL;
CREATE INDEX blob_undrawn ON blob (org, hash) WHERE gone_ms IS NULL AND preview IS NULL;

-- Photos whose files are to be removed.
CREATE TABLE unlink (
    org  INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (org, hash)
) STRICT, WITHOUT ROWID;

-- Photos that are being decoded, and how often a process has died of one.
CREATE TABLE decoding (
    org      INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    deaths   INTEGER NOT NULL,
    tried_ms INTEGER NOT NULL,
    running  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (org, hash)
) STRICT, WITHOUT ROWID;

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

-- The photos whose hashes have the same bits in one of six bands, each with its 8 bytes and its number in 4. Hashes that
-- differ in few bits meet in one band at least, with one bit changed. A row's place is its organisation, band, bits and
-- number among those with the same, from the most significant bit on: in a table of this kind a row may fill a page, and
-- 330 photos lie in one. Made of the sketches.
CREATE TABLE likeness (
    place   INTEGER PRIMARY KEY,
    entries BLOB NOT NULL
) STRICT;

-- What is worth a look in a visit. It accuses nobody.
CREATE TABLE signal (
    org            INTEGER NOT NULL,
    visit          BLOB NOT NULL,
    kind           INTEGER NOT NULL,
    photo          BLOB NOT NULL,        -- empty: of a capture
    other          BLOB NOT NULL,        -- the photo that it is like, or the other capture; empty: none
    other_document BLOB NOT NULL,        -- what has that; empty: none, or the visit itself
    by             BLOB NOT NULL,        -- whose capture, or who names the photo
    other_by       BLOB NOT NULL,        -- who names the other photo; empty: none
    entry          BLOB NOT NULL,        -- the capture; empty: of a photo
    figure         INTEGER NOT NULL,     -- by kind: bits, minutes, strength, metres, km/h
    evidence       BLOB NOT NULL,        -- packed; empty: none but the figure
    found_ms       INTEGER NOT NULL,
    seen_by        BLOB,
    seen_ms        INTEGER,
    PRIMARY KEY (org, visit, kind, photo, other, other_document, by, other_by)
) STRICT, WITHOUT ROWID;
CREATE INDEX signal_open ON signal (org, visit, kind, photo, by) WHERE seen_ms IS NULL;
-- What is like a photo is found by it when that is erased.
CREATE INDEX signal_other ON signal (org, other) WHERE other <> x'';
CREATE INDEX signal_photo ON signal (org, photo) WHERE photo <> x'';

-- What the organisation thinks of each kind; those that are missing weigh what is usual.
CREATE TABLE signal_weight (
    org    INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    PRIMARY KEY (org, kind)
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
    pushes      BLOB,                    -- names of its pushes, each with the one that it names, the newest first
    own_since   INTEGER NOT NULL DEFAULT 0, -- whoever sent the newest has all from here on that the device's name is on
    acked       INTEGER NOT NULL DEFAULT 0, -- lines of the log that it is known to know, noted when rights change
    forked      INTEGER NOT NULL DEFAULT 0, -- pushes of a copied store
    PRIMARY KEY (org, device),
    UNIQUE (org, fingerprint)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_user ON device (org, user);

-- Devices' keys that a manager of their distributor has confirmed; each is a line of the log.
CREATE TABLE confirmation (
    org      INTEGER NOT NULL,
    device   BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    by       BLOB NOT NULL,
    PRIMARY KEY (org, device)
) STRICT, WITHOUT ROWID;

-- What was decided on refused work for a document, whatever has become of that since; each is a line of the log.
CREATE TABLE decision (
    org      INTEGER NOT NULL,
    document BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    by       BLOB NOT NULL,
    PRIMARY KEY (org, document, sequence)
) STRICT, WITHOUT ROWID;

-- Keys that the server has had in an organisation before: what was sealed to them is opened still.
CREATE TABLE former_key (
    org    INTEGER NOT NULL,
    number INTEGER NOT NULL,             -- 1: the first
    seed   BLOB NOT NULL,
    PRIMARY KEY (org, number)
) STRICT, WITHOUT ROWID;

-- Written and emptied again to see whether the disk takes more.
CREATE TABLE probe (body BLOB NOT NULL) STRICT;
