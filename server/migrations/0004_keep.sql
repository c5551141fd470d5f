-- How many days phones keep a visit after its newest change; NULL: for ever.
ALTER TABLE organisation ADD COLUMN keep_days INTEGER;

-- 1: phones do not keep it any more. Its lines of the log have the audience -1 - a instead of a.
ALTER TABLE visit ADD COLUMN let_go INTEGER NOT NULL DEFAULT 0;
CREATE INDEX visit_kept ON visit (org, changed_ms)
    WHERE let_go = 0 AND status NOT IN ('in_progress', 'sent_back');
