-- Timelines, the last published base, known Envoys, and what a restore lost.

-- Distinguishes the history of this store from those that a restore cut off: each restore starts a
-- new timeline. `began` is the version of its first keyset.
ALTER TABLE meta ADD COLUMN timeline BLOB CHECK (length(timeline) = 8);
ALTER TABLE meta ADD COLUMN began INTEGER NOT NULL DEFAULT 0;
UPDATE meta SET timeline = randomblob(8);

-- SHA-256 over the timeline and the manifest of the last published base. A file is accepted as
-- that base only if it matches.
ALTER TABLE meta ADD COLUMN base BLOB;

-- Every Envoy that received or reported a keyset, until it is forgotten explicitly.
CREATE TABLE envoy (
  node    TEXT    PRIMARY KEY,
  cluster TEXT    NOT NULL,
  version TEXT    NOT NULL,              -- of Envoy, as it reports
  address TEXT    NOT NULL,              -- where it last connected from, or empty
  gone    INTEGER,                       -- since when it has no stream; null: it has one
  proved  INTEGER NOT NULL               -- it has sent a signed report
) STRICT, WITHOUT ROWID;

-- Keys that were in the last published keyset and are different after the last restore.
CREATE TABLE lost_key (
  id      INTEGER PRIMARY KEY,           -- the number that its ten digits encode
  client  TEXT    NOT NULL,
  revoked INTEGER NOT NULL               -- 1: it was revoked and is valid again; 0: it is unknown
) STRICT;
