-- For lists of keys by when they expire: those that never do stand at the end.
CREATE INDEX key_client_endless ON key (client, id)
  WHERE revoked IS NULL AND coalesce(expires, overlap_end) IS NULL;
CREATE INDEX key_endless ON key (id)
  WHERE revoked IS NULL AND coalesce(expires, overlap_end) IS NULL;
