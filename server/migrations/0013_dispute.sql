-- What the log proves of when a photo was recorded: not before (NULL: nothing proves it), and when the server had it (NULL: a
-- log that did not read). Two photos that are alike are put in order by that. Of what came before it is read from log.
ALTER TABLE photo ADD COLUMN earliest_ms INTEGER;
ALTER TABLE photo ADD COLUMN received_ms INTEGER;

-- A photo whose time is over is judged where it is used again. All are judged anew, by what is proved.
DROP INDEX photo_unjudged;
UPDATE photo SET judged = 0;
CREATE INDEX photo_unjudged ON photo (org, hash) WHERE judged = 0 AND here <> 0;

-- An outlet reaches so far around the position that is known of it, in metres.
ALTER TABLE organisation ADD COLUMN radius_m INTEGER NOT NULL DEFAULT 150;

-- Visits are read anew: where the cameras were counts too.
UPDATE visit SET judged = 0;
