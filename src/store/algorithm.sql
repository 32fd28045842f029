-- How a signing key signs. For `ed25519`, the secret is the seed of the pair.
ALTER TABLE signing_key ADD COLUMN algorithm TEXT NOT NULL DEFAULT 'hmac-sha256'
  CHECK (algorithm IN ('hmac-sha256', 'ed25519'));
