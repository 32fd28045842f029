-- What the console stands on: invitations, and lists that stay quick over a million keys.

-- Not a token yet, but a code that is exchanged for one, once.
ALTER TABLE token ADD COLUMN invitation INTEGER NOT NULL DEFAULT FALSE;

-- How many keys a client has, read off the index alone.
CREATE INDEX key_living ON key (client) WHERE revoked IS NULL;
CREATE INDEX key_revoked ON key (client) WHERE revoked IS NOT NULL;
-- Which keys end next, by their own end or because they give way to another one.
CREATE INDEX key_ends ON key (min(coalesce(expires, overlap_end), coalesce(overlap_end, expires)))
  WHERE revoked IS NULL AND coalesce(expires, overlap_end) IS NOT NULL;
