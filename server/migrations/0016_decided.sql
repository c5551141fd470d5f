-- What became of a device's refused work: that it was accepted, or came into the log otherwise, is told like a discard.
DROP INDEX quarantine_discarded;
CREATE INDEX quarantine_decided ON quarantine (org, device, decided) WHERE state IN ('accepted', 'arrived', 'discarded');
CREATE INDEX device_user ON device (org, user);
