-- Usage, version 1: a separate file, so that counting and changes of the store never wait for
-- each other. Times are seconds since the epoch; `t` is in the unit of its table (minutes,
-- hours, days of UTC). Each name is stored once, in its own table.

CREATE TABLE about (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  began    INTEGER,                      -- when the first batch was counted
  settings TEXT    NOT NULL              -- JSON; empty: defaults
) STRICT;
INSERT INTO about (one, settings) VALUES (1, '');

-- A run of Envoy on a node, and its VMs with the batches of each that were counted: the
-- last number, and in the bits of `before` which of the 64 before it were counted.
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

-- Route 0 means none; outcome 0 is `ok`, which takes no byte in a row.
CREATE TABLE route   (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE outcome (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO route   VALUES (0, '');
INSERT INTO outcome VALUES (0, 'ok');

-- Keys that were used. Client -1 stands for keys that the store does not know.
CREATE TABLE key (
  number        INTEGER PRIMARY KEY,
  id            INTEGER NOT NULL UNIQUE,
  client        INTEGER NOT NULL,
  first_used    INTEGER,                 -- counts admitted requests only, as do the next ones
  last_used     INTEGER,
  first_address TEXT,
  last_address  TEXT,
  agent         TEXT
) STRICT;

-- Counts. Client 0 is all of them together, -1 no known one. The time comes first in the key, so
-- that new counts are at the end of the tree and those to delete at its beginning.
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

-- Requests that were not counted, by hour: VMs had no room, or reported them too late.
CREATE TABLE lost (t INTEGER PRIMARY KEY, dropped INTEGER NOT NULL, late INTEGER NOT NULL) STRICT;

-- Where a key was used from: networks, not addresses.
CREATE TABLE network (
  key     INTEGER NOT NULL,
  network TEXT    NOT NULL,
  first   INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  PRIMARY KEY (key, network)
) STRICT, WITHOUT ROWID;

-- What each run of Envoy admitted in a window of a quota.
CREATE TABLE quota (
  lineage INTEGER NOT NULL,
  window  INTEGER NOT NULL,
  source  INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  PRIMARY KEY (lineage, window, source)
) STRICT, WITHOUT ROWID;

-- One for each day, key and rule. `told` says whether it is in the audit log.
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
