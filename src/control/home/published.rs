//! What was published last, as it lies beside the store: base and overlay. After a loss of
//! the store it is what is left to tell which keys there were.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile::key::KeyId;
use keystile::keyset::{Artefact, Overlay, Refusal, SigningKeys, StoreId};
use serde::Deserialize;

use crate::error::Result;
use crate::inspect::{self, Opened};
use crate::store::{LostKey, Tx};

/// The last base, under the home folder.
pub const BASE: &str = "base.keyset";
/// The last overlay over it.
pub const OVERLAY: &str = "overlay.keyset";
/// No store issues such a version: the year is beyond 100,000. One that is read from what is
/// not signed, or by an Envoy's word, must not use up the numbers.
pub const VERSION_MOST: u64 = 1 << 52;

/// The keyset that was published last.
#[derive(Default)]
pub struct Last {
    /// No version that was published lies above it; 0 if nothing is known.
    pub version: u64,
    /// Its keys, if it could be read.
    keys: Option<Keys>,
    /// Why it could not be read, if it is there.
    pub unreadable: Option<String>,
}

struct Keys {
    base: Opened,
    overlay: Option<std::rc::Rc<Overlay>>,
}

impl Last {
    /// Reads what lies in a folder and was published by a store.
    pub fn read(folder: &Path, store: StoreId, signers: &SigningKeys) -> Self {
        let (base, overlay) = (fs::read(folder.join(BASE)), fs::read(folder.join(OVERLAY)));
        let version = [&base, &overlay]
            .into_iter()
            .filter_map(|file| version(file.as_ref().ok()?, store))
            .max();
        let mut last = Self {
            version: version.unwrap_or(0),
            ..Self::default()
        };
        match base.map(|bytes| inspect::open(&bytes, signers)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => last.unreadable = Some(e.to_string()),
            Ok(Err(e)) => last.unreadable = Some(e.to_string()),
            Ok(Ok(opened)) if opened.keyset.store != store => {
                last.unreadable = Some("it is another store's".to_owned());
            }
            Ok(Ok(base)) => {
                let over = overlay.ok().and_then(|o| read_overlay(&o, signers).ok());
                let overlay = over.filter(|o| o.base == base.keyset.name);
                last.keys = Some(Keys { base, overlay });
            }
        }
        last
    }

    /// The greatest number of a client in it.
    pub fn last_client(&self) -> u32 {
        let mut last = 0;
        self.each(|_, entry| last = last.max(entry.0));
        last
    }

    fn each(&self, mut each: impl FnMut(KeyId, (u32, &str, bool))) {
        let Some(keys) = &self.keys else { return };
        let of = |e: &keystile::keyset::Entry<'_>| e.revoked || e.disabled;
        let changed: BTreeMap<KeyId, (u32, String, bool)> = keys
            .overlay
            .iter()
            .flat_map(|o| o.entries())
            .map(|(_, e)| (e.id, (e.client_number, e.client.to_owned(), of(&e))))
            .collect();
        for (_, e) in keys.base.entries() {
            if !changed.contains_key(&e.id) {
                each(e.id, (e.client_number, e.client, of(&e)));
            }
        }
        for (id, (number, client, off)) in &changed {
            each(*id, (*number, client, *off));
        }
    }

    /// What of it a store lacks or has otherwise: keys that it does not know, and keys that
    /// are good again although they were revoked or disabled.
    ///
    /// # Errors
    /// Those of the store.
    pub fn lost_by(&self, tx: &Tx<'_>) -> Result<Vec<LostKey>> {
        let mut lost = Vec::new();
        let mut failed = None;
        self.each(|id, (_, client, off)| {
            let found = match tx.key(id) {
                Ok(found) => found,
                Err(e) => {
                    failed.get_or_insert(e);
                    return;
                }
            };
            let is_lost = match &found {
                None => !off,
                Some(key) => off && key.revoked.is_none() && !key.disabled,
            };
            if is_lost {
                lost.push(LostKey {
                    id,
                    client: client.to_owned(),
                    revoked: found.is_some(),
                });
            }
        });
        match failed {
            Some(e) => Err(e),
            None => Ok(lost),
        }
    }
}

fn read_overlay(
    bytes: &[u8],
    signers: &SigningKeys,
) -> std::result::Result<std::rc::Rc<Overlay>, Refusal> {
    match Artefact::load(&mut &*bytes, signers, |_| {})? {
        Artefact::Overlay(overlay) => Ok(overlay),
        Artefact::Keyset(_) => Err(Refusal::Overlay),
    }
}

/// The version that a file says, whoever signed it: with a signing key that the backup does
/// not know yet, it is one that must not come again all the same.
fn version(bytes: &[u8], store: StoreId) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        manifest: String,
    }
    #[derive(Deserialize)]
    struct Manifest {
        store: String,
        version: u64,
    }
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let head: Head = serde_json::from_slice(bytes.get(..end)?).ok()?;
    let manifest = URL_SAFE_NO_PAD.decode(head.manifest).ok()?;
    let manifest: Manifest = serde_json::from_slice(&manifest).ok()?;
    let ours = manifest.store == store.to_string() && manifest.version < VERSION_MOST;
    ours.then_some(manifest.version)
}
