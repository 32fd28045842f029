-- From version 2 to version 3: webhooks, and what the rotation of keys remembers.

CREATE TABLE webhook (
  number  INTEGER PRIMARY KEY AUTOINCREMENT,
  name    TEXT    NOT NULL UNIQUE,
  url     TEXT    NOT NULL,
  secret  BLOB    NOT NULL,              -- signs messages; the receiver knows it too
  events  TEXT    NOT NULL,              -- patterns of audit actions, separated by spaces
  cursor  INTEGER NOT NULL,              -- the last audit record that was looked at
  created INTEGER NOT NULL
) STRICT;

-- Messages that no receiver has taken yet. What they say stands in the audit record.
CREATE TABLE message (
  webhook  INTEGER NOT NULL REFERENCES webhook (number) ON DELETE CASCADE,
  seq      INTEGER NOT NULL,             -- of the audit record
  failures INTEGER NOT NULL,
  next     INTEGER NOT NULL,             -- when to try again, in seconds
  PRIMARY KEY (webhook, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_next ON message (next);

-- The last warning about a key: given so many days before that deadline.
CREATE TABLE warning (
  key      INTEGER PRIMARY KEY REFERENCES key (id),
  deadline INTEGER NOT NULL,
  days     INTEGER NOT NULL
) STRICT;

-- Keys whose successor waits to be fetched. Its secret is drawn when it is: until then
-- there is none that could be stolen.
CREATE TABLE handover (
  key     INTEGER PRIMARY KEY REFERENCES key (id),
  since   INTEGER NOT NULL,
  fetched INTEGER
) STRICT;
