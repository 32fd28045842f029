//! Secrets in a database that is not encrypted as a whole: sealed with a data key, which is sealed
//! with the master key. A new master key changes one row.

use keystile_model::error::{Error, Result};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::master_key::MasterKey;
use crate::trouble::damaged;

/// Where the data key is kept.
const DATA_KEY: &str = "meta.data_key";

/// Fills a buffer with random bytes.
pub type Entropy = fn(&mut [u8]) -> Result<()>;

/// The data key. No `Debug`, no `Display`; wiped when dropped.
pub struct Seal {
    key: Zeroizing<[u8; 32]>,
    entropy: Entropy,
}

impl Seal {
    /// A new one.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn new(entropy: Entropy) -> Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        entropy(key.as_mut_slice())?;
        Ok(Self { key, entropy })
    }

    /// The one that a store keeps.
    ///
    /// # Errors
    /// If it was not sealed with this master key.
    pub fn open(kept: &[u8], master: &MasterKey, entropy: Entropy) -> Result<Self> {
        let opened = open(&wrapping(master), DATA_KEY, kept)?;
        let mut key = Zeroizing::new([0; 32]);
        if opened.len() != key.len() {
            return Err(torn());
        }
        key.copy_from_slice(&opened);
        Ok(Self { key, entropy })
    }

    /// What a store keeps of it.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn kept(&self, master: &MasterKey) -> Result<Vec<u8>> {
        close(
            &wrapping(master),
            DATA_KEY,
            self.key.as_slice(),
            self.entropy,
        )
    }

    /// Seals a secret for a place: it can be opened for no other.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn close(&self, place: &str, secret: &[u8]) -> Result<Vec<u8>> {
        close(&self.key, place, secret, self.entropy)
    }

    /// The secret of a place.
    ///
    /// # Errors
    /// If it was not sealed by this, for this place.
    pub fn reveal(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        open(&self.key, place, sealed)
    }
}

/// The key that seals a data key.
fn wrapping(master: &MasterKey) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let digest = Sha256::new()
        .chain_update(b"keystile data key v1\n")
        .chain_update(master.expose_bytes())
        .finalize();
    key.copy_from_slice(&digest);
    key
}

/// A nonce, the sealed secret and its tag.
fn close(key: &[u8; 32], place: &str, secret: &[u8], entropy: Entropy) -> Result<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    entropy(&mut nonce)?;
    let mut sealed = secret.to_vec();
    cipher(key)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.as_bytes()),
            &mut sealed,
        )
        .map_err(|_| torn())?;
    Ok([nonce.as_slice(), &sealed].concat())
}

fn open(key: &[u8; 32], place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(torn)?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let opened = cipher(key)?
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(place.as_bytes()),
            buffer.as_mut_slice(),
        )
        .map_err(|_| torn())?
        .len();
    buffer.truncate(opened);
    Ok(buffer)
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| torn())?;
    Ok(LessSafeKey::new(key))
}

fn torn() -> Error {
    damaged("a secret in it was changed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_model::error::Code;

    fn entropy(buf: &mut [u8]) -> Result<()> {
        (keystile_system::local().entropy)(buf)
    }

    #[test]
    fn a_secret_opens_only_where_it_was_sealed_and_with_its_key() {
        let (one, other) = (
            Seal::new(entropy).ok().unwrap(),
            Seal::new(entropy).ok().unwrap(),
        );
        let sealed = one.close("webhook.secret a", b"secret").unwrap();
        assert_eq!(
            one.reveal("webhook.secret a", &sealed).unwrap().as_slice(),
            b"secret"
        );
        assert_ne!(sealed, one.close("webhook.secret a", b"secret").unwrap());
        let refused = |r: Result<Zeroizing<Vec<u8>>>| r.unwrap_err().is(Code::StoreDamaged);
        assert!(refused(one.reveal("webhook.secret b", &sealed)));
        assert!(refused(other.reveal("webhook.secret a", &sealed)));
        assert!(refused(one.reveal("webhook.secret a", &sealed[..20])));
        assert!(refused(one.reveal("webhook.secret a", b"")));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(refused(one.reveal("webhook.secret a", &changed)), "{at}");
        }
    }

    #[test]
    fn a_data_key_opens_with_its_master_key() {
        let seal = Seal::new(entropy).ok().unwrap();
        let (master, other) = (
            MasterKey::generate(entropy).ok().unwrap(),
            MasterKey::generate(entropy).ok().unwrap(),
        );
        let kept = seal.kept(&master).unwrap();
        let sealed = seal.close("x", b"secret").unwrap();
        let again = Seal::open(&kept, &master, entropy).ok().unwrap();
        assert_eq!(again.reveal("x", &sealed).unwrap().as_slice(), b"secret");
        assert!(Seal::open(&kept, &other, entropy).is_err());
        // Under a new master key, the same.
        let kept = again.kept(&other).unwrap();
        let again = Seal::open(&kept, &other, entropy).ok().unwrap();
        assert_eq!(again.reveal("x", &sealed).unwrap().as_slice(), b"secret");
    }
}
