-- Envoys with a secret of their own for what they report. A node that was revoked keeps its row:
-- what is signed with everybody's secret does not count for it again.
CREATE TABLE node (
  node     TEXT    PRIMARY KEY,
  secret   BLOB,                         -- nothing once it was revoked
  enrolled INTEGER NOT NULL,
  revoked  INTEGER
) STRICT, WITHOUT ROWID;
