-- Webhooks: pausing, and the last attempts to deliver to each.
ALTER TABLE webhook ADD COLUMN paused BIGINT;  -- since when nothing is sent; null: it is sent

CREATE TABLE delivery (
  webhook BIGINT NOT NULL REFERENCES webhook (number) ON DELETE CASCADE,
  number  BIGINT NOT NULL,              -- counts the attempts for this webhook
  seq     BIGINT NOT NULL,              -- of the audit record
  action  TEXT COLLATE "C" NOT NULL,
  attempt BIGINT NOT NULL,              -- counts the attempts for this message
  at      BIGINT NOT NULL,              -- seconds
  took_ms BIGINT NOT NULL,
  status  BIGINT,
  failure TEXT COLLATE "C" NOT NULL,             -- empty if it was accepted
  PRIMARY KEY (webhook, number)
);
