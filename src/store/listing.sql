-- For lists of keys by age, of all clients and of one, without sorting a million.
CREATE INDEX key_created ON key (created, id);
CREATE INDEX key_client_created ON key (client, created, id);
