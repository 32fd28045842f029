-- What pages and explanations ask for of a million keys, without a look at each.

-- Whether any key was made elsewhere.
CREATE INDEX key_imported ON key (id) WHERE imported;

-- How much was written down on each day (UTC, from the epoch), pruned or not.
CREATE TABLE audit_day (
  day     INTEGER PRIMARY KEY,
  done    INTEGER NOT NULL,
  refused INTEGER NOT NULL
) STRICT;
INSERT INTO audit_day
  SELECT at_ms / 86400000, sum(outcome = 'done'), sum(outcome = 'refused') FROM audit GROUP BY 1;
