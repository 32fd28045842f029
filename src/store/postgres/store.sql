-- The store on PostgreSQL, in a schema of its own: version 11, the first that there is of it.
-- Tables and columns are those of SQLite, so that both understand the same queries. Texts compare
-- byte by byte, as SQLite's do. Secrets are sealed with the data key; see seal.rs.

CREATE TABLE schema_version (
  one     BIGINT PRIMARY KEY CHECK (one = 1),
  version BIGINT NOT NULL
);
INSERT INTO schema_version VALUES (1, 0);

-- SQLite's functions of two numbers, neither of which is null in any of our queries.
CREATE FUNCTION min(BIGINT, BIGINT) RETURNS BIGINT IMMUTABLE PARALLEL SAFE
  RETURN LEAST($1, $2);
CREATE FUNCTION max(BIGINT, BIGINT) RETURNS BIGINT IMMUTABLE PARALLEL SAFE
  RETURN GREATEST($1, $2);

-- Numbers that are never used again, and given without gaps: SQLite's own table, by its name.
CREATE TABLE sqlite_sequence (
  name TEXT COLLATE "C" PRIMARY KEY,
  seq  BIGINT NOT NULL
);
CREATE FUNCTION next_number(what TEXT) RETURNS BIGINT LANGUAGE sql AS
  'INSERT INTO sqlite_sequence VALUES (what, 1)
   ON CONFLICT (name) DO UPDATE SET seq = sqlite_sequence.seq + 1 RETURNING seq';

CREATE TABLE meta (
  one              BIGINT PRIMARY KEY CHECK (one = 1),
  store            BYTEA  NOT NULL CHECK (length(store) = 8),
  version          BIGINT NOT NULL,
  issued_at        BIGINT NOT NULL,
  audit_seq        BIGINT NOT NULL,
  audit_hash       BYTEA  NOT NULL,
  audit_secret     BYTEA,                -- sealed
  audit_start      BIGINT NOT NULL DEFAULT 0,
  audit_start_hash BYTEA  NOT NULL
    DEFAULT '\x0000000000000000000000000000000000000000000000000000000000000000',
  audit_start_tag  BYTEA,
  timeline         BYTEA CHECK (length(timeline) = 8),
  began            BIGINT NOT NULL DEFAULT 0,
  base             BYTEA,
  data_key         BYTEA NOT NULL,       -- sealed with the master key
  master_key       TEXT COLLATE "C" NOT NULL -- its fingerprint
);

CREATE TABLE client (
  number      BIGINT PRIMARY KEY DEFAULT next_number('client'),
  name        TEXT COLLATE "C" NOT NULL,
  plan        TEXT COLLATE "C",
  description TEXT COLLATE "C" NOT NULL,
  labels      TEXT COLLATE "C" NOT NULL,
  created     BIGINT NOT NULL,
  deleted     BIGINT,
  revision    BIGINT NOT NULL DEFAULT 0,
  changed     BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX client_living ON client (name) WHERE deleted IS NULL;
CREATE INDEX client_changed ON client (changed);

CREATE TABLE key (
  id           BIGINT PRIMARY KEY,
  client       BIGINT NOT NULL REFERENCES client (number),
  digest       BYTEA  NOT NULL UNIQUE CHECK (length(digest) = 32),
  imported     BOOLEAN NOT NULL,
  name         TEXT COLLATE "C" NOT NULL,
  environment  TEXT COLLATE "C" NOT NULL,
  publishable  BOOLEAN NOT NULL,
  scopes       TEXT COLLATE "C" NOT NULL,
  plan         TEXT COLLATE "C",
  limits       TEXT COLLATE "C" NOT NULL,
  expires      BIGINT,
  not_before   BIGINT,
  overlap_end  BIGINT,
  disabled     BOOLEAN NOT NULL,
  revoked      BIGINT,
  reason       TEXT COLLATE "C" NOT NULL,
  lineage      BIGINT NOT NULL,
  rotated_from BIGINT,
  allow        TEXT COLLATE "C" NOT NULL,
  deny         TEXT COLLATE "C" NOT NULL,
  origins      TEXT COLLATE "C" NOT NULL,
  labels       TEXT COLLATE "C" NOT NULL,
  created      BIGINT NOT NULL,
  changed      BIGINT NOT NULL DEFAULT 0,
  rotate_every BIGINT,
  grace        BIGINT,
  certificates TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX key_client ON key (client);
CREATE INDEX key_changed ON key (changed);
CREATE INDEX key_rotated_from ON key (rotated_from) WHERE rotated_from IS NOT NULL;
CREATE INDEX key_living ON key (client, plan) WHERE revoked IS NULL;
CREATE INDEX key_revoked ON key (client, revoked) WHERE revoked IS NOT NULL;
CREATE INDEX key_ends ON key (min(coalesce(expires, overlap_end), coalesce(overlap_end, expires)))
  WHERE revoked IS NULL AND coalesce(expires, overlap_end) IS NOT NULL;
CREATE INDEX key_imported ON key (id) WHERE imported;

CREATE TABLE policy (
  revision BIGINT PRIMARY KEY DEFAULT next_number('policy'),
  text     TEXT COLLATE "C" NOT NULL,
  applied  BIGINT NOT NULL
);

CREATE TABLE signing_key (
  rowid   BIGINT NOT NULL DEFAULT next_number('signing_key'),
  kid     TEXT COLLATE "C" PRIMARY KEY,
  secret  BYTEA NOT NULL,                -- sealed; empty once it is retired
  state   TEXT COLLATE "C" NOT NULL CHECK (state IN ('active', 'accepted', 'retired')),
  created BIGINT NOT NULL,
  retired BIGINT
);
CREATE UNIQUE INDEX signing_key_active ON signing_key (state) WHERE state = 'active';

CREATE TABLE audit (
  seq     BIGINT PRIMARY KEY,
  at_ms   BIGINT NOT NULL,
  uid     BIGINT NOT NULL,
  "user"  TEXT COLLATE "C" NOT NULL,
  host    TEXT COLLATE "C" NOT NULL,
  action  TEXT COLLATE "C" NOT NULL,
  subject TEXT COLLATE "C" NOT NULL,
  before  TEXT COLLATE "C" NOT NULL,
  after   TEXT COLLATE "C" NOT NULL,
  prev    BYTEA NOT NULL,
  hash    BYTEA NOT NULL,
  format  BIGINT NOT NULL DEFAULT 1,
  address TEXT COLLATE "C" NOT NULL DEFAULT '',
  request TEXT COLLATE "C" NOT NULL DEFAULT '',
  client  TEXT COLLATE "C" NOT NULL DEFAULT '',
  outcome TEXT COLLATE "C" NOT NULL DEFAULT 'done' CHECK (outcome IN ('done', 'refused')),
  reason  TEXT COLLATE "C" NOT NULL DEFAULT ''
);
-- With the number, because pages are read in its order; SQLite's indexes hold it anyway.
CREATE INDEX audit_subject ON audit (subject, seq);
CREATE INDEX audit_client ON audit (client, seq) WHERE client <> '';
CREATE INDEX audit_user ON audit ("user", seq);
CREATE INDEX audit_action ON audit (action, seq);
CREATE INDEX audit_at ON audit (at_ms);
CREATE INDEX audit_refused ON audit (seq) WHERE outcome = 'refused';
CREATE TABLE audit_day (
  day     BIGINT PRIMARY KEY,
  done    BIGINT NOT NULL,
  refused BIGINT NOT NULL
);

CREATE TABLE token (
  id         BIGINT PRIMARY KEY,
  digest     BYTEA NOT NULL CHECK (length(digest) = 32),
  name       TEXT COLLATE "C" NOT NULL,
  role       TEXT COLLATE "C" NOT NULL CHECK (role IN ('owner', 'issuer', 'auditor', 'client')),
  client     BIGINT REFERENCES client (number),
  scopes     TEXT COLLATE "C" NOT NULL,
  plans      TEXT COLLATE "C" NOT NULL,
  max_expiry BIGINT,
  max_keys   BIGINT,
  networks   TEXT COLLATE "C" NOT NULL,
  created    BIGINT NOT NULL,
  created_by TEXT COLLATE "C" NOT NULL,
  expires    BIGINT NOT NULL,
  last_used  BIGINT,
  revoked    BIGINT,
  invitation BOOLEAN NOT NULL DEFAULT FALSE,
  CHECK ((role = 'client') = (client IS NOT NULL))
);
CREATE UNIQUE INDEX token_living ON token (name) WHERE revoked IS NULL;

CREATE TABLE replay (
  caller  TEXT COLLATE "C" NOT NULL,
  key     TEXT COLLATE "C" NOT NULL,
  request BYTEA NOT NULL CHECK (length(request) = 32),
  status  BIGINT NOT NULL,
  body    BYTEA NOT NULL,
  created BIGINT NOT NULL,
  PRIMARY KEY (caller, key)
);
CREATE INDEX replay_created ON replay (created);

CREATE TABLE webhook (
  number  BIGINT PRIMARY KEY DEFAULT next_number('webhook'),
  name    TEXT COLLATE "C" NOT NULL UNIQUE,
  url     TEXT COLLATE "C" NOT NULL,
  secret  BYTEA NOT NULL,                -- sealed
  events  TEXT COLLATE "C" NOT NULL,
  cursor  BIGINT NOT NULL,
  created BIGINT NOT NULL
);
CREATE TABLE message (
  webhook  BIGINT NOT NULL REFERENCES webhook (number) ON DELETE CASCADE,
  seq      BIGINT NOT NULL,
  failures BIGINT NOT NULL,
  next     BIGINT NOT NULL,
  PRIMARY KEY (webhook, seq)
);
CREATE INDEX message_next ON message (next);
CREATE TABLE warning (
  key      BIGINT PRIMARY KEY REFERENCES key (id),
  deadline BIGINT NOT NULL,
  days     BIGINT NOT NULL
);
CREATE TABLE handover (
  key     BIGINT PRIMARY KEY REFERENCES key (id),
  since   BIGINT NOT NULL,
  fetched BIGINT
);

CREATE TABLE envoy (
  node      TEXT COLLATE "C" PRIMARY KEY,
  cluster   TEXT COLLATE "C" NOT NULL,
  version   TEXT COLLATE "C" NOT NULL,
  address   TEXT COLLATE "C" NOT NULL,
  gone      BIGINT,
  proved    BOOLEAN NOT NULL,
  processes TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE TABLE node (
  node     TEXT COLLATE "C" PRIMARY KEY,
  secret   BYTEA,                        -- sealed; null once it was revoked
  enrolled BIGINT NOT NULL,
  revoked  BIGINT
);
CREATE TABLE lost_key (
  id      BIGINT PRIMARY KEY,
  client  TEXT COLLATE "C" NOT NULL,
  revoked BOOLEAN NOT NULL
);
