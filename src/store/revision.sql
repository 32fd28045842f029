-- Version 9: what the `ETag` of a client is computed from, however many keys it has; and how many
-- keys are on a plan, counted from an index alone.

ALTER TABLE client ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

DROP INDEX key_living;
-- Includes `revoked`, although it is null in all of them: otherwise each row would be read for it.
CREATE INDEX key_living ON key (client, plan, revoked) WHERE revoked IS NULL;
