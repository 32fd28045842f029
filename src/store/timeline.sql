-- Timelines, the base that was published last, Envoys that are known, and what a restore lost.

-- Sets the course of this store apart from those that a restore cut off: another one with each
-- restore. `began` is the version that its keysets begin with.
ALTER TABLE meta ADD COLUMN timeline BLOB CHECK (length(timeline) = 8);
ALTER TABLE meta ADD COLUMN began INTEGER NOT NULL DEFAULT 0;
UPDATE meta SET timeline = randomblob(8);

-- SHA-256 over the timeline and the manifest of the base that was published last. A file is
-- taken for that base only if it is the one.
ALTER TABLE meta ADD COLUMN base BLOB;

-- Every Envoy that was given a keyset or reported one, until it is forgotten by its name.
CREATE TABLE envoy (
  node    TEXT    PRIMARY KEY,
  cluster TEXT    NOT NULL,
  version TEXT    NOT NULL,              -- of Envoy, as it says
  address TEXT    NOT NULL,              -- where it last connected from, or nothing
  gone    INTEGER,                       -- since when it has no stream; nothing: it has one
  proved  INTEGER NOT NULL               -- it has sent a signed report
) STRICT, WITHOUT ROWID;

-- Keys that the last published keyset held and the last restore brought back otherwise.
CREATE TABLE lost_key (
  id      INTEGER PRIMARY KEY,           -- the number that its ten digits spell
  client  TEXT    NOT NULL,
  revoked INTEGER NOT NULL               -- it is known, and good again; otherwise it is unknown
) STRICT;
