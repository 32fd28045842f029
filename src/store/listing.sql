-- For lists of keys by age, and of one client by when they expire, without sorting a million.
CREATE INDEX key_created ON key (created, id);
CREATE INDEX key_client_created ON key (client, created, id);
CREATE INDEX key_client_ends ON key (client, min(coalesce(expires, overlap_end), coalesce(overlap_end, expires)), id)
  WHERE revoked IS NULL AND coalesce(expires, overlap_end) IS NOT NULL;
