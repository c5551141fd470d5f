-- When a copy's token was last used, to within an hour.
ALTER TABLE mirror ADD COLUMN used_ms INTEGER;
