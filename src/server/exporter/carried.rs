//! How far the audit log was sent: noted for the server whose turn is next.

use std::path::Path;
use std::sync::Arc;

use crate::pool::StorePool;
use keystile_model::error::Result;
use keystile_store::Store;
use keystile_system::{self as system, file};

/// The note's name.
const SENT: &str = "audit.sent";

/// What the servers of a store have noted; nothing if there is one server.
pub struct Carried(Option<String>);

/// Takes over what another server has noted.
///
/// # Errors
/// Those of the store, and of the file.
pub async fn fetch(pool: &Arc<StorePool>, noted: &Path) -> Result<Carried> {
    if pool.replicas().is_none() {
        return Ok(Carried(None));
    }
    let known = pool.read(|tx| tx.mark(SENT)).await?;
    if let Some(text) = &known
        && !std::fs::read_to_string(noted).is_ok_and(|own| own == *text)
    {
        file::replace(noted, 0o600, text.as_bytes())?;
    }
    Ok(Carried(known))
}

/// Notes a mark for the others, unless one of them has noted something since: its turn came while this
/// one was sending, and it knows better.
///
/// # Errors
/// Those of the store: they may send again what was sent.
pub async fn give(pool: &Arc<StorePool>, text: String, over: Carried) -> Result<()> {
    if pool.replicas().is_none() {
        return Ok(());
    }
    let world = system::of_server();
    let write = move |store: &mut Store| {
        store.write(&world, |tx| tx.set_mark(SENT, over.0.as_deref(), &text))
    };
    if !pool.write(write).await? {
        tracing::warn!(
            "another server has sent the audit log meanwhile; some records arrive twice"
        );
    }
    Ok(())
}
