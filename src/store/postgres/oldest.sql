-- The oldest version of the schema whose servers can go on beside this one; see schema.rs.
ALTER TABLE schema_version ADD COLUMN oldest BIGINT;
