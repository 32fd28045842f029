-- Keys in use that the store does not know, by last use.
CREATE INDEX key_unknown ON key (last_used) WHERE client = -1;
