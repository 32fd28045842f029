-- Version 8: what an `ETag` of a client rests on, however many keys it has.

ALTER TABLE client ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
