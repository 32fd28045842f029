-- For the console: invitations, and lists that stay fast with a million keys.

-- Set for a code that can be exchanged for a token once.
ALTER TABLE token ADD COLUMN invitation INTEGER NOT NULL DEFAULT FALSE;

-- How many keys a client has, counted from the index alone.
CREATE INDEX key_living ON key (client) WHERE revoked IS NULL;
CREATE INDEX key_revoked ON key (client) WHERE revoked IS NOT NULL;
-- Which keys end next, because they expire or because another key replaces them.
CREATE INDEX key_ends ON key (min(coalesce(expires, overlap_end), coalesce(overlap_end, expires)))
  WHERE revoked IS NULL AND coalesce(expires, overlap_end) IS NOT NULL;
