-- What a next version could add: servers of the one before go on without it.
ALTER TABLE client ADD COLUMN contact TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE TABLE contact (
  name TEXT COLLATE "C" PRIMARY KEY
);
CREATE INDEX client_contact ON client (contact);
