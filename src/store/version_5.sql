-- From version 4 to version 5: the identities of client certificates that a key is bound to,
-- separated by spaces.
ALTER TABLE key ADD COLUMN certificates TEXT NOT NULL DEFAULT '';
