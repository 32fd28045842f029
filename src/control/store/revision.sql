-- Version 8: what an `ETag` of a client rests on, however many keys it has; and how many keys are
-- on a plan, from an index alone.

ALTER TABLE client ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

DROP INDEX key_living;
CREATE INDEX key_living ON key (client, plan) WHERE revoked IS NULL;
