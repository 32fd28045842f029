-- Version 13: what the replicas of a server share besides the store's contents.

-- The replicas, until their lease ends. `seen` is the database's own clock. Logged, unlike what they
-- observe: a standby that takes over knows whom to wait for, before they have said anything to it.
CREATE TABLE replica (
  id        TEXT COLLATE "C" PRIMARY KEY,
  seen      BIGINT NOT NULL,
  published BIGINT NOT NULL
);

-- What each of them observes of each Envoy. It is observed anew after a crash of the database.
CREATE UNLOGGED TABLE observed (
  replica TEXT COLLATE "C" NOT NULL REFERENCES replica (id) ON DELETE CASCADE,
  node    TEXT COLLATE "C" NOT NULL,
  seq     BIGINT NOT NULL,
  body    TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (replica, node)
);
CREATE INDEX observed_seq ON observed (replica, seq);

-- The base that all of them publish, sealed, and where what was sent elsewhere ends.
CREATE TABLE base (
  one   BIGINT PRIMARY KEY CHECK (one = 1),
  bytes BYTEA NOT NULL
);
ALTER TABLE base ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE TABLE mark (
  name TEXT COLLATE "C" PRIMARY KEY,
  text TEXT COLLATE "C" NOT NULL
);

-- Sessions of the console, by the digest of their id.
CREATE TABLE session (
  digest  BYTEA PRIMARY KEY CHECK (length(digest) = 32),
  visitor TEXT COLLATE "C" NOT NULL,
  owner   TEXT COLLATE "C" NOT NULL,
  began   BIGINT NOT NULL,
  seen    BIGINT NOT NULL
);
CREATE INDEX session_owner ON session (owner, seen);

-- Buckets that slow down guessing.
CREATE UNLOGGED TABLE bucket (
  who    TEXT COLLATE "C" PRIMARY KEY,
  stored BIGINT NOT NULL
);
CREATE INDEX bucket_stored ON bucket (stored);
