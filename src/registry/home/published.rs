//! The last published base and overlay, beside the store. If the store is lost, they are what is
//! left to show which keys there were.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile_core::key::KeyId;
use keystile_core::keyset::{Artefact, KeysetRefusal, Overlay, SigningKeys, StoreId};
use serde::Deserialize;

use crate::inspect::{self, Opened};
use keystile_model::error::Result;
use keystile_model::world::Moment;
use keystile_store::{LostKey, Tx};

/// The last base, under the home folder.
pub const BASE: &str = "base.keyset";
/// The last overlay over it.
pub const OVERLAY: &str = "overlay.keyset";
/// How far ahead of the clock a version may be if it comes from unsigned data or from an Envoy: a
/// year. Versions are milliseconds since the epoch, and a version far in the future would use up
/// the numbers, so that no correct report could be accepted again.
const AHEAD_MS: u64 = 366 * 86_400 * 1000;

/// The highest version that any store can have issued by now.
pub fn version_most(now: Moment) -> u64 {
    now.ms().saturating_add(AHEAD_MS)
}

/// The keyset that was published last.
#[derive(Default)]
pub struct Last {
    /// The highest version that was published; 0 if nothing is known.
    pub version: u64,
    /// Its keys, if it could be read.
    keys: Option<Keys>,
    /// Why it could not be read, if it is there.
    pub unreadable: Option<String>,
}

struct Keys {
    base: Opened,
    overlay: Option<std::sync::Arc<Overlay>>,
}

impl Last {
    /// Reads what a store has published from its folder.
    pub fn read(folder: &Path, store: StoreId, signers: &SigningKeys, now: Moment) -> Self {
        let (base, overlay) = (fs::read(folder.join(BASE)), fs::read(folder.join(OVERLAY)));
        let version = [&base, &overlay]
            .into_iter()
            .filter_map(|file| version(file.as_ref().ok()?, store, now))
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
                last.unreadable = Some("it belongs to another store".to_owned());
            }
            Ok(Ok(base)) => {
                let over = overlay.ok().and_then(|o| read_overlay(&o, signers).ok());
                let overlay = over.filter(|o| o.base == base.keyset.name);
                last.keys = Some(Keys { base, overlay });
            }
        }
        last
    }

    /// Whether its keys could be read.
    pub fn is_known(&self) -> bool {
        self.keys.is_some()
    }

    /// The greatest number of a client in it.
    pub fn last_client(&self) -> u32 {
        let mut last = 0;
        self.each(|_, entry| last = last.max(entry.0));
        last
    }

    fn each(&self, mut each: impl FnMut(KeyId, (u32, &str, bool))) {
        let Some(keys) = &self.keys else { return };
        let of = |e: &keystile_core::keyset::Entry<'_>| e.revoked || e.disabled;
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

    /// The differences to a store: keys that it does not know, and keys that are valid again
    /// although they were revoked or disabled.
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
) -> std::result::Result<std::sync::Arc<Overlay>, KeysetRefusal> {
    match Artefact::load(&mut &*bytes, signers, |_| {})? {
        Artefact::Overlay(overlay) => Ok(overlay),
        Artefact::Keyset(_) => Err(KeysetRefusal::Overlay),
    }
}

/// The version in a file, whoever signed it: even if the backup does not know the signing key yet,
/// the version must not be used again.
fn version(bytes: &[u8], store: StoreId, now: Moment) -> Option<u64> {
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
    let ours = manifest.store == store.to_string() && manifest.version <= version_most(now);
    ours.then_some(manifest.version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Timelines;
    use crate::client;
    use crate::home::Home;
    use crate::key;
    use crate::publish;
    use crate::signing;
    use crate::webhook;
    use keystile_store::Store;
    use keystile_system as system;

    /// Long before the store was made, and yet not so long that nothing in it is believed.
    fn before() -> u64 {
        system::local().now.seconds() - 300 * 86_400
    }

    fn publish(store: &mut Store, folder: &Path) -> u64 {
        signing::renew(store, &system::local()).unwrap();
        let ready = store.read(publish::unrenewed).ok().unwrap();
        fs::write(folder.join(BASE), ready.seal_raw(1)).unwrap();
        ready.built.version
    }

    /// The lost store, but for its file; the version that it published last.
    fn lost(folder: &Path, home: &Home) -> u64 {
        let world = system::local();
        home.backup(&world, &folder.join("kept.db")).ok().unwrap();
        let mut store = home.open().ok().unwrap();
        for name in ["late", "later"] {
            client::create(&mut store, &world, client::ClientDraft::named(name)).unwrap();
        }
        let issue = |store: &mut Store, client: &str| {
            let draft = key::KeyDraft::default();
            key::issue(store, &world, client, draft, 2, |_| {}).ok();
        };
        issue(&mut store, "later");
        let version = publish(&mut store, folder);
        store.close().unwrap();
        fs::remove_file(folder.join("store.db")).unwrap();
        version
    }

    #[test]
    fn versions_and_numbers_go_on_behind_those_of_the_lost_store_even_if_the_clock_went_back() {
        let (folder, home) = crate::bench::home_in_folder("version: 1\n", &["acme"]);
        let hook = |store: &mut Store| {
            let draft = webhook::WebhookDraft {
                name: "siem".to_owned(),
                url: "https://siem.example.com/keystile".to_owned(),
                ..webhook::WebhookDraft::default()
            };
            webhook::create(store, &system::local(), draft)
                .ok()
                .unwrap();
        };
        hook(&mut home.open().ok().unwrap());
        let former = home.open().ok().unwrap().read(|tx| Ok(tx.meta().timeline));
        let version = lost(folder.path(), &home);
        let before = before();
        let world = system::at(before);
        let restored = home.restore(&world, &folder.path().join("kept.db"));
        let restored = restored.ok().unwrap();
        assert!(restored.version > version, "{} {version}", restored.version);
        assert_eq!(restored.lost.len(), 2);
        assert_eq!(restored.unreadable, None);

        let mut store = home.open().ok().unwrap();
        let meta = store.read(|tx| Ok(tx.meta())).unwrap();
        assert_eq!(
            (meta.began, meta.version),
            (restored.version, restored.version)
        );
        assert_ne!(Ok(meta.timeline), former);
        client::create(&mut store, &world, client::ClientDraft::named("new")).unwrap();
        let new = store.read(|tx| tx.client("new")).unwrap().unwrap();
        assert_eq!(new.number, 4, "numbers 2 and 3 are those of lost clients");

        // Each record names the timeline that it was written on, that of the restore the new one.
        let (timelines, cut, last) = store
            .read(|tx| {
                let (mut cut, mut last) = (0, 0);
                tx.each_audit(|r| {
                    last = r.seq;
                    if r.action == "store.restore" {
                        cut = r.seq;
                    }
                    Ok(())
                })?;
                Ok((Timelines::read(tx, 0)?, cut, last))
            })
            .unwrap();
        assert!(cut > 1 && cut < last);
        let former = former.unwrap().to_string();
        let now = meta.timeline.to_string();
        for seq in 1..=last {
            let written_on = if seq < cut { &former } else { &now };
            assert_eq!(timelines.at(seq).as_ref(), Some(written_on), "{seq}");
        }

        // Receivers take no message for one that they have had on the other timeline.
        let late = system::at(before + 10);
        while webhook::collect(&mut store, &late).unwrap().more {}
        let due = store.read(|tx| tx.due_messages(1, before + 10, 9)).unwrap();
        let (id, _) = webhook::content(&due[0]);
        let wanted = format!("msg_{}_1_{}", meta.timeline, due[0].record.seq);
        assert_eq!(id, wanted);
    }

    #[test]
    fn a_keyset_that_nobody_can_verify_tells_its_version_and_no_key() {
        let (folder, home) = crate::bench::home_in_folder("version: 1\n", &["acme"]);
        let mut store = home.open().ok().unwrap();
        let version = publish(&mut store, folder.path());
        let id = store.read(|tx| Ok(tx.meta().store)).unwrap();
        let nobody = SigningKeys::new(Vec::new());
        let now = system::local().now;
        let last = Last::read(folder.path(), id, &nobody, now);
        assert_eq!(last.version, version);
        assert!(last.unreadable.is_some() && last.keys.is_none());
        // A version too far ahead of the clock that the caller names is not accepted.
        let long_ago = system::at(1_700_000_000).now;
        assert_eq!(Last::read(folder.path(), id, &nobody, long_ago).version, 0);
        let last = Last::read(folder.path(), StoreId([0; 8]), &nobody, now);
        assert_eq!(last.version, 0, "another store's");
    }
}
