-- Usage, version 1: a file of its own, so that counting never waits for a change of the
-- store nor a change for counting. Times are seconds since the epoch; `t` counts units of
-- its table (minutes, hours, days of UTC). Names stand in dictionaries, once each.

CREATE TABLE about (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  began    INTEGER,                      -- when the first batch was counted
  settings TEXT    NOT NULL              -- JSON; nothing: as they come
) STRICT;
INSERT INTO about (one, settings) VALUES (1, '');

-- A run of Envoy on a node, and its VMs with the batches that were counted of each: the
-- last number, and in the bits of `before` which of the 64 before it.
CREATE TABLE source (
  number INTEGER PRIMARY KEY,
  node   TEXT    NOT NULL,
  epoch  INTEGER NOT NULL,
  seen   INTEGER NOT NULL,
  UNIQUE (node, epoch)
) STRICT;
CREATE TABLE vm (
  source  INTEGER NOT NULL,
  vm      INTEGER NOT NULL,
  claimed INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  before  INTEGER NOT NULL,
  seen    INTEGER NOT NULL,
  PRIMARY KEY (source, vm, claimed)
) STRICT, WITHOUT ROWID;

-- Route 0 is none; outcome 0 is `ok`, which takes no byte in a row.
CREATE TABLE route   (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE outcome (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO route   VALUES (0, '');
INSERT INTO outcome VALUES (0, 'ok');

-- Keys that were used. Client -1 is that of keys that the store does not know.
CREATE TABLE key (
  number        INTEGER PRIMARY KEY,
  id            INTEGER NOT NULL UNIQUE,
  client        INTEGER NOT NULL,
  first_used    INTEGER,                 -- let through; so with all that follows
  last_used     INTEGER,
  first_address TEXT,
  last_address  TEXT,
  agent         TEXT
) STRICT;

-- Counts. Client 0 is all of them together, -1 none that is known. The time stands first:
-- what is counted lies at the end of the tree, and what is too old at its beginning.
CREATE TABLE client_minute (t INTEGER NOT NULL, client INTEGER NOT NULL, route INTEGER NOT NULL,
  outcome INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (t, client, route, outcome)) STRICT, WITHOUT ROWID;
CREATE TABLE client_hour   (t INTEGER NOT NULL, client INTEGER NOT NULL, route INTEGER NOT NULL,
  outcome INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (t, client, route, outcome)) STRICT, WITHOUT ROWID;
CREATE TABLE client_day    (t INTEGER NOT NULL, client INTEGER NOT NULL, route INTEGER NOT NULL,
  outcome INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (t, client, route, outcome)) STRICT, WITHOUT ROWID;
CREATE TABLE key_minute (t INTEGER NOT NULL, client INTEGER NOT NULL, key INTEGER NOT NULL, route INTEGER NOT NULL,
  outcome INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (t, client, key, route, outcome)) STRICT, WITHOUT ROWID;
CREATE TABLE key_hour   (t INTEGER NOT NULL, client INTEGER NOT NULL, key INTEGER NOT NULL, route INTEGER NOT NULL,
  outcome INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (t, client, key, route, outcome)) STRICT, WITHOUT ROWID;
CREATE TABLE key_day    (t INTEGER NOT NULL, client INTEGER NOT NULL, key INTEGER NOT NULL, route INTEGER NOT NULL,
  outcome INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (t, client, key, route, outcome)) STRICT, WITHOUT ROWID;

-- Requests that are in no count, by hour: VMs had no room, or told of them too late.
CREATE TABLE lost (t INTEGER PRIMARY KEY, dropped INTEGER NOT NULL, late INTEGER NOT NULL) STRICT;

-- Where a key was used from: networks, not addresses.
CREATE TABLE network (
  key     INTEGER NOT NULL,
  network TEXT    NOT NULL,
  first   INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  PRIMARY KEY (key, network)
) STRICT, WITHOUT ROWID;

-- What each run of Envoy let through in a window of a quota.
CREATE TABLE quota (
  lineage INTEGER NOT NULL,
  window  INTEGER NOT NULL,
  source  INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  PRIMARY KEY (lineage, window, source)
) STRICT, WITHOUT ROWID;

-- One for each day, key and rule. `told` says whether the audit log has it.
CREATE TABLE anomaly (
  day    INTEGER NOT NULL,
  key    INTEGER NOT NULL,
  rule   TEXT    NOT NULL,
  at     INTEGER NOT NULL,
  detail TEXT    NOT NULL,               -- JSON
  told   INTEGER NOT NULL,
  PRIMARY KEY (day, key, rule)
) STRICT, WITHOUT ROWID;
CREATE INDEX anomaly_untold ON anomaly (told) WHERE NOT told;
