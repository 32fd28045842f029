//! The base of the last run, so that a restarted server does not push every Envoy a
//! new one. Believed only if all of it verifies, and if it is the one that the store noted
//! on its timeline: whoever puts an older store in place, in whatever way, must not get
//! the keys of a newer one served with it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile_core::keyset::{self, Built, Keyset, SigningKeys, StoreId};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::Current;
use crate::delivery::Delivery;
use crate::delivery::artefact::{Artefact, Kind, Template};
use keystile_model::error::Result;
use keystile_registry::home::published::{BASE, OVERLAY};
use keystile_registry::signing;
use keystile_system::file;

/// What of the envelope is needed to seal it again.
#[derive(Deserialize)]
struct Head {
    manifest: String,
    nonce: u64,
}

/// The base in the home folder, if there is one and it holds.
pub async fn load(delivery: &Delivery) -> Option<Current> {
    let path = delivery.desk.home().folder().join(BASE);
    let bytes = spawn_blocking(move || std::fs::read(path).ok());
    let bytes = bytes.await.ok()??;
    let read = delivery.desk.read(|tx| {
        let signers = signing::accepted(tx)?;
        Ok((tx.meta().store, signers))
    });
    let (store, signers) = read.await.ok()?;
    let template = delivery.settings.template.clone();
    let fresh = delivery.nonce().ok()?;
    let opened = spawn_blocking(move || open(&bytes, store, signers, template, fresh));
    let Some(current) = opened.await.ok()? else {
        tracing::warn!("the base of the last run is not reused: it does not verify");
        return None;
    };
    let manifest = current.artefact.built().manifest.clone();
    let noted = delivery.desk.read(move |tx| tx.is_base(&manifest)).await;
    if !noted.ok()? {
        tracing::warn!(
            version = current.artefact.version(),
            "the base of the last run is not reused: it is not the last one that this store published on its timeline"
        );
        return None;
    }
    Some(current)
}

/// Notes in the store which base it publishes from now on, so that [`load`] takes it again.
///
/// # Errors
/// Those of the store.
pub async fn note(delivery: &Delivery, base: &Artefact) -> Result<()> {
    let manifest = base.built().manifest.clone();
    let world = (delivery.settings.world)();
    let note = delivery
        .desk
        .write(move |store| store.write(&world, |tx| tx.set_base(&manifest)));
    note.await
}

/// Keeps the overlay that is about to be published beside its base: after a loss of the store
/// the two tell which keys there were.
pub async fn keep(delivery: &Delivery, overlay: &Artefact, nonce: u64) {
    let path = delivery.desk.home().folder().join(OVERLAY);
    let bytes = overlay.built().seal_raw(overlay.signers(), nonce);
    let kept = spawn_blocking(move || file::replace_lazily(&path, 0o600, &bytes)).await;
    if let Ok(Err(e)) = kept {
        delivery.desk.health().heed_beside(1);
        tracing::warn!(error = %e, "the overlay cannot be kept: if the store is lost, its keys will not be known");
    }
}

fn open(
    bytes: &[u8],
    store: StoreId,
    signers: SigningKeys,
    template: Template,
    fresh: u64,
) -> Option<Current> {
    let keyset = Keyset::load(&mut &*bytes, &signers, |_| {}).ok()?;
    // Envoy looks at a page when it is asked for; a page that the disk has spoilt must
    // not get so far.
    if keyset.store != store || keyset.entries().count() != keyset.len() {
        return None;
    }
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let head: Head = serde_json::from_slice(bytes.get(..end)?).ok()?;
    let built = Built {
        kind: keyset::Kind::Keyset,
        manifest: URL_SAFE_NO_PAD.decode(head.manifest).ok()?,
        pages: bytes.get(end + 1..)?.to_vec(),
        keys: keyset.len(),
        version: keyset.version,
    };
    // Signed by others since: sealed anew.
    let nonce = if built.seal_raw(&signers, head.nonce) == bytes {
        head.nonce
    } else {
        fresh
    };
    let artefact = Artefact::new(Kind::Base, built, signers, template, nonce);
    Current::new(artefact).ok()
}
