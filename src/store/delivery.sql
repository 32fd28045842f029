-- Webhooks: pausing, and the last attempts to deliver to each.
ALTER TABLE webhook ADD COLUMN paused INTEGER;  -- since when nothing is sent; null: it is sent

CREATE TABLE delivery (
  webhook INTEGER NOT NULL REFERENCES webhook (number) ON DELETE CASCADE,
  number  INTEGER NOT NULL,              -- counts the attempts for this webhook
  seq     INTEGER NOT NULL,              -- of the audit record
  action  TEXT NOT NULL,
  attempt INTEGER NOT NULL,              -- counts the attempts for this message
  at      INTEGER NOT NULL,              -- seconds
  took_ms INTEGER NOT NULL,
  status  INTEGER,
  failure TEXT NOT NULL,             -- empty if it was accepted
  PRIMARY KEY (webhook, number)
) STRICT, WITHOUT ROWID;
