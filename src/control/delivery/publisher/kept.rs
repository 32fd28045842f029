//! The base of the last run, so that a restarted server does not push every Envoy a
//! new one. Believed only if all of it verifies.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile::keyset::{self, Built, Keyset, SigningKeys, StoreId};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::{Current, KEPT};
use crate::delivery::Delivery;
use crate::delivery::artefact::{Artefact, Kind, Template};
use crate::registry::signing;

/// What of the envelope is needed to seal it again.
#[derive(Deserialize)]
struct Head {
    manifest: String,
    nonce: u64,
}

/// The base in the home folder, if there is one and it holds.
pub async fn load(delivery: &Delivery) -> Option<Current> {
    let path = delivery.desk.home().folder().join(KEPT);
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
    let current = opened.await.ok()?;
    if current.is_none() {
        tracing::warn!("the base of the last run is not used again: it does not verify");
    }
    current
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
