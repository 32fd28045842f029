-- From version 1 to version 2: roles, tokens, replays, changes of keys, an audit log that
-- can be searched and pruned.

-- The audit log's own secret, made with the first checkpoint; and where its chain begins:
-- after the last removed record, authenticated by the tag.
ALTER TABLE meta ADD COLUMN audit_secret BLOB;
ALTER TABLE meta ADD COLUMN audit_start INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN audit_start_hash BLOB NOT NULL
  DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000';
ALTER TABLE meta ADD COLUMN audit_start_tag BLOB;

-- The first version of the keyset that has the key in its current state.
ALTER TABLE key ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE key ADD COLUMN rotate_every INTEGER;       -- seconds; null: as its plan says
ALTER TABLE key ADD COLUMN grace INTEGER;              -- seconds; null: as its plan says
UPDATE key SET changed = (SELECT version FROM meta);
CREATE INDEX key_changed ON key (changed);
CREATE INDEX key_rotated_from ON key (rotated_from) WHERE rotated_from IS NOT NULL;

-- A record of format 1 has none of these fields, because its hash does not cover them, except
-- for the client: that is derived from its content.
ALTER TABLE audit ADD COLUMN format  INTEGER NOT NULL DEFAULT 1;
ALTER TABLE audit ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN request TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN client  TEXT NOT NULL DEFAULT '';  -- that it concerns, or empty
ALTER TABLE audit ADD COLUMN outcome TEXT NOT NULL DEFAULT 'done'
  CHECK (outcome IN ('done', 'refused'));
ALTER TABLE audit ADD COLUMN reason  TEXT NOT NULL DEFAULT '';  -- of a refusal
UPDATE audit SET client = CASE
  WHEN action LIKE 'client.%' THEN subject
  WHEN action LIKE 'key.%' THEN coalesce(
    json_extract(nullif(after, ''), '$.client'), json_extract(nullif(before, ''), '$.client'), '')
  ELSE '' END;
CREATE INDEX audit_client ON audit (client) WHERE client <> '';
CREATE INDEX audit_user ON audit (user);
CREATE INDEX audit_action ON audit (action);
CREATE INDEX audit_at ON audit (at_ms);
CREATE INDEX audit_refused ON audit (seq) WHERE outcome = 'refused';

-- Who may use the server's API. Only the digest of a token is stored.
CREATE TABLE token (
  id         INTEGER PRIMARY KEY,        -- the number that its ten digits encode
  digest     BLOB    NOT NULL CHECK (length(digest) = 32),
  name       TEXT    NOT NULL,
  role       TEXT    NOT NULL CHECK (role IN ('owner', 'issuer', 'auditor', 'client')),
  client     INTEGER REFERENCES client (number),
  scopes     TEXT    NOT NULL,           -- upper bounds, only for a client's token
  plans      TEXT    NOT NULL,
  max_expiry INTEGER,                    -- seconds from the issue of a key
  max_keys   INTEGER,
  networks   TEXT    NOT NULL,           -- ranges that it may be used from; empty: any
  created    INTEGER NOT NULL,
  created_by TEXT    NOT NULL,
  expires    INTEGER NOT NULL,
  last_used  INTEGER,                    -- to the minute
  revoked    INTEGER,
  CHECK ((role = 'client') = (client IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX token_living ON token (name) WHERE revoked IS NULL;

-- Responses to requests that may be repeated. They contain no secret.
CREATE TABLE replay (
  caller  TEXT    NOT NULL,
  key     TEXT    NOT NULL,
  request BLOB    NOT NULL CHECK (length(request) = 32),
  status  INTEGER NOT NULL,
  body    BLOB    NOT NULL,
  created INTEGER NOT NULL,
  PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_created ON replay (created);
