-- The store, version 1. Encrypted as a whole by SQLCipher. Times are seconds since the
-- epoch unless the name says otherwise. It holds no secret of a key, only digests.

-- About the store itself; one row.
CREATE TABLE meta (
  one        INTEGER PRIMARY KEY CHECK (one = 1),
  store      BLOB    NOT NULL CHECK (length(store) = 8),
  version    INTEGER NOT NULL,           -- of the keyset: milliseconds, always increasing
  issued_at  INTEGER NOT NULL,           -- of the last change in the keyset
  audit_seq  INTEGER NOT NULL,           -- the last audit record and its hash, so that
  audit_hash BLOB    NOT NULL            -- removal of the last ones is detected
) STRICT;

-- A number is never used again, because buckets in the filter are named by it.
CREATE TABLE client (
  number      INTEGER PRIMARY KEY AUTOINCREMENT,
  name        TEXT    NOT NULL,
  plan        TEXT,
  description TEXT    NOT NULL,
  labels      TEXT    NOT NULL,          -- a JSON object, or nothing
  created     INTEGER NOT NULL,
  deleted     INTEGER
) STRICT;
CREATE UNIQUE INDEX client_living ON client (name) WHERE deleted IS NULL;

-- Lists of words (scopes, ranges, origins) are separated by spaces, which none of the words
-- can contain, so that publishing a hundred thousand keys parses no JSON.
CREATE TABLE key (
  id           INTEGER PRIMARY KEY,      -- the number that its ten digits encode
  client       INTEGER NOT NULL REFERENCES client (number),
  digest       BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
  imported     INTEGER NOT NULL,
  name         TEXT    NOT NULL,
  environment  TEXT    NOT NULL,
  publishable  INTEGER NOT NULL,
  scopes       TEXT    NOT NULL,
  plan         TEXT,                     -- its own; if null, its client's
  limits       TEXT    NOT NULL,         -- a JSON array, or empty
  expires      INTEGER,
  not_before   INTEGER,
  overlap_end  INTEGER,                  -- when only the key it was rotated to works
  disabled     INTEGER NOT NULL,
  revoked      INTEGER,
  reason       TEXT    NOT NULL,
  lineage      INTEGER NOT NULL,         -- first key in its chain of rotations
  rotated_from INTEGER,
  allow        TEXT    NOT NULL,
  deny         TEXT    NOT NULL,
  origins      TEXT    NOT NULL,
  labels       TEXT    NOT NULL,         -- a JSON object, or nothing
  created      INTEGER NOT NULL
) STRICT;
CREATE INDEX key_client ON key (client);

-- Every policy ever applied; the last one is in force.
CREATE TABLE policy (
  revision INTEGER PRIMARY KEY AUTOINCREMENT,
  text     TEXT    NOT NULL,
  applied  INTEGER NOT NULL
) STRICT;

CREATE TABLE signing_key (
  kid     TEXT    PRIMARY KEY,
  secret  BLOB    NOT NULL,
  state   TEXT    NOT NULL CHECK (state IN ('active', 'accepted', 'retired')),
  created INTEGER NOT NULL,
  retired INTEGER
) STRICT;
CREATE UNIQUE INDEX signing_key_active ON signing_key (state) WHERE state = 'active';

CREATE TABLE audit (
  seq     INTEGER PRIMARY KEY,
  at_ms   INTEGER NOT NULL,
  uid     INTEGER NOT NULL,
  user    TEXT    NOT NULL,
  host    TEXT    NOT NULL,
  action  TEXT    NOT NULL,
  subject TEXT    NOT NULL,
  before  TEXT    NOT NULL,              -- JSON, or nothing
  after   TEXT    NOT NULL,              -- JSON, or nothing
  prev    BLOB    NOT NULL,
  hash    BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_subject ON audit (subject);
