-- Version 10: the processes that report under each node id, so that a server that is started again
-- waits for all of them.

-- JSON; empty if none is known.
ALTER TABLE envoy ADD COLUMN processes TEXT NOT NULL DEFAULT '';
