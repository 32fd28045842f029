-- The version at which a client last changed something that the keyset holds with each of its keys
-- (its plan), so that changing the client writes no row of its keys, however many there are.

ALTER TABLE client ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX client_changed ON client (changed);

-- Includes `revoked`, so that how many were revoked at once is counted from the index alone.
DROP INDEX key_revoked;
CREATE INDEX key_revoked ON key (client, revoked) WHERE revoked IS NOT NULL;
