-- How much of a phone's refused work waits, without reading any of that work.
CREATE INDEX quarantine_waiting ON quarantine (org, device, length(body)) WHERE state = 'waiting';
