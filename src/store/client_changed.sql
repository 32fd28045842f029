-- What a client's keys have from it in the keyset (its plan) has changed as of this version: so that
-- a change of the client writes no row of its keys, however many there are.

ALTER TABLE client ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX client_changed ON client (changed);

-- `revoked` too: how many were revoked at once is counted from the index alone.
DROP INDEX key_revoked;
CREATE INDEX key_revoked ON key (client, revoked) WHERE revoked IS NOT NULL;
