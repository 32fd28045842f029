-- Envoys with their own secret for signing reports. A revoked node keeps its row, so that reports
-- signed with the shared secret are not accepted from it again.
CREATE TABLE node (
  node     TEXT    PRIMARY KEY,
  secret   BLOB,                         -- null once it was revoked
  enrolled INTEGER NOT NULL,
  revoked  INTEGER
) STRICT, WITHOUT ROWID;
