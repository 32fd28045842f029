-- Version 9: what an `ETag` of a client rests on, however many keys it has; and how many keys are
-- on a plan, from an index alone.

ALTER TABLE client ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

DROP INDEX key_living;
-- `revoked` too, which is nothing in all of them: otherwise each row would be looked up for it.
CREATE INDEX key_living ON key (client, plan, revoked) WHERE revoked IS NULL;
