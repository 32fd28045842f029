-- For questions of the console and of `explain` about a million keys, without reading each.

-- Whether any key was imported.
CREATE INDEX key_imported ON key (id) WHERE imported;

-- How many audit records were written on each day (UTC, counted from the epoch), including pruned ones.
CREATE TABLE audit_day (
  day     INTEGER PRIMARY KEY,
  done    INTEGER NOT NULL,
  refused INTEGER NOT NULL
) STRICT;
INSERT INTO audit_day
  SELECT at_ms / 86400000, sum(outcome = 'done'), sum(outcome = 'refused') FROM audit GROUP BY 1;
