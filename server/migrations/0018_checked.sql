-- What the times of a change follow from besides its own words: how old it was when its device sent it, by the clock that
-- counts since the phone's start; NULL: no clock has counted that.
ALTER TABLE log ADD COLUMN age_ms INTEGER;

-- SHA-256 of what was refused, as it came; NULL: it is not kept any more. It can be anything, also without a signature.
ALTER TABLE quarantine ADD COLUMN digest BLOB;
