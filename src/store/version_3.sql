-- From version 2 to version 3: webhooks, and the state of key rotation.

CREATE TABLE webhook (
  number  INTEGER PRIMARY KEY AUTOINCREMENT,
  name    TEXT    NOT NULL UNIQUE,
  url     TEXT    NOT NULL,
  secret  BLOB    NOT NULL,              -- signs messages; shared with the receiver
  events  TEXT    NOT NULL,              -- patterns of audit actions, separated by spaces
  cursor  INTEGER NOT NULL,              -- the last audit record that was processed
  created INTEGER NOT NULL
) STRICT;

-- Messages that no receiver has accepted yet. Their content is in the audit record.
CREATE TABLE message (
  webhook  INTEGER NOT NULL REFERENCES webhook (number) ON DELETE CASCADE,
  seq      INTEGER NOT NULL,             -- of the audit record
  failures INTEGER NOT NULL,
  next     INTEGER NOT NULL,             -- when to try again, in seconds
  PRIMARY KEY (webhook, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_next ON message (next);

-- The last warning about a key: how many days before which deadline it was given.
CREATE TABLE warning (
  key      INTEGER PRIMARY KEY REFERENCES key (id),
  deadline INTEGER NOT NULL,
  days     INTEGER NOT NULL
) STRICT;

-- Keys whose successor has not been fetched yet. Its secret is generated when it is fetched, so
-- that until then there is none to steal.
CREATE TABLE handover (
  key     INTEGER PRIMARY KEY REFERENCES key (id),
  since   INTEGER NOT NULL,
  fetched INTEGER
) STRICT;
