//! The base of the last run, so that a restarted server does not push a new one to every Envoy.
//! Used only if all of it verifies, and if it is the one that the store recorded on its timeline:
//! an older store that is put in place, by whatever means, must not be served with the keys of a
//! newer one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile_core::keyset::{self, Built, Keyset, SigningKeys, StoreId};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::current::Current;
use crate::delivery::Delivery;
use crate::delivery::artefact::{ResourceKind, ResourceTemplate, SignableArtefact};
use keystile_model::error::Result;
use keystile_registry::home::published::{BASE, OVERLAY};
use keystile_registry::signing;
use keystile_store::{BaseMark, Tx};
use keystile_system::file;

/// The parts of the envelope that are needed to sign it again.
#[derive(Deserialize)]
struct Head {
    manifest: String,
    nonce: u64,
}

/// The base in the home folder, if there is a valid one.
pub async fn load(delivery: &Delivery) -> Option<Current> {
    let bytes = bytes(delivery).await?;
    let read = delivery.pool.read(|tx| {
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
    let noted = delivery.pool.read(move |tx| tx.is_base(&manifest)).await;
    if !noted.ok()? {
        tracing::warn!(
            version = current.artefact.version(),
            "the base of the last run is not reused: it is not the last one that this store published on its timeline"
        );
        return None;
    }
    Some(current)
}

/// Records in the store which base it publishes from now on, so that [`load`] accepts it, also at
/// other servers. Gives false, and records nothing, if one of them was faster: the base that was
/// published before is not `over` any more.
///
/// # Errors
/// Those of the store.
pub async fn note(
    delivery: &Delivery,
    base: &SignableArtefact,
    bytes: &[u8],
    over: &BaseMark,
) -> Result<bool> {
    let manifest = base.built().manifest.clone();
    let (bytes, over) = (bytes.to_owned(), over.clone());
    let world = (delivery.settings.world)();
    let note = move |tx: &mut Tx<'_>| {
        if tx.is_shared() && tx.base_mark()? != over {
            return Ok(false);
        }
        tx.share_base(&bytes)?;
        tx.set_base(&manifest)?;
        Ok(true)
    };
    let noted = delivery.pool.write(move |store| store.write(&world, note));
    noted.await
}

/// The last base that was published: in the database if there may be other servers, otherwise in
/// the folder.
async fn bytes(delivery: &Delivery) -> Option<Vec<u8>> {
    let path = delivery.pool.home().folder().join(BASE);
    if delivery.pool.replicas().is_none() {
        return spawn_blocking(move || std::fs::read(path).ok())
            .await
            .ok()?;
    }
    let shared = delivery.pool.read(|tx| tx.shared_base()).await;
    let bytes = shared.ok()??;
    let kept = bytes.clone();
    let kept = spawn_blocking(move || file::replace(&path, 0o600, &kept)).await;
    if let Ok(Err(e)) = kept {
        tracing::warn!(error = %e, "the base cannot be saved: if the database is lost, its keys will not be known");
    }
    Some(bytes)
}

/// Keeps the overlay that is about to be published beside its base: if the store is lost, the two
/// show which keys there were.
pub async fn keep(delivery: &Delivery, overlay: &SignableArtefact, nonce: u64) {
    let path = delivery.pool.home().folder().join(OVERLAY);
    let bytes = overlay.built().seal_raw(overlay.signers(), nonce);
    let kept = spawn_blocking(move || file::replace_lazily(&path, 0o600, &bytes)).await;
    if let Ok(Err(e)) = kept {
        delivery.pool.health().heed_beside(1);
        tracing::warn!(error = %e, "the overlay cannot be saved: if the store is lost, its keys will not be known");
    }
}

fn open(
    bytes: &[u8],
    store: StoreId,
    signers: SigningKeys,
    template: ResourceTemplate,
    fresh: u64,
) -> Option<Current> {
    let keyset = Keyset::load(&mut &*bytes, &signers, |_| {}).ok()?;
    // Envoy verifies a page when it is needed; a page that the disk has damaged must not get that
    // far.
    if keyset.store != store || keyset.entries().count() != keyset.len() {
        return None;
    }
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let head: Head = serde_json::from_slice(bytes.get(..end)?).ok()?;
    let built = Built {
        kind: keyset::ArtefactKind::Keyset,
        manifest: URL_SAFE_NO_PAD.decode(head.manifest).ok()?,
        pages: bytes.get(end + 1..)?.to_vec(),
        keys: keyset.len(),
        version: keyset.version,
    };
    // The signing keys have changed since: sign again.
    let nonce = if built.seal_raw(&signers, head.nonce) == bytes {
        head.nonce
    } else {
        fresh
    };
    let artefact = SignableArtefact::new(ResourceKind::Base, built, signers, template, nonce);
    Current::new(artefact).ok()
}
