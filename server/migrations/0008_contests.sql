-- How the most urgent contest of a visit stands that makes it a contested one: open, asked or accepted; NULL: none.
ALTER TABLE visit ADD COLUMN contest TEXT;
CREATE INDEX visit_contest ON visit (org, audience, changed) WHERE contest IS NOT NULL;

-- Of the figures that part which comes from contested visits, so that they can be shown without it.
ALTER TABLE kpi_day ADD COLUMN contested_numerator INTEGER NOT NULL DEFAULT 0;
ALTER TABLE kpi_day ADD COLUMN contested_denominator INTEGER NOT NULL DEFAULT 0;
