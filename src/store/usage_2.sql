-- Keys in use that the store does not know, the latest first.
CREATE INDEX key_unknown ON key (last_used) WHERE client = -1;
