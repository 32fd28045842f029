//! How far the audit log was sent: noted for the server whose turn is next.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::pool::StorePool;
use keystile_model::error::Result;
use keystile_system::{self as system, file};

/// The note's name.
const SENT: &str = "audit.sent";

/// Takes over what another server has noted.
///
/// # Errors
/// Those of the store, and of the file.
pub async fn fetch(pool: &Arc<StorePool>, noted: &Path) -> Result<()> {
    if pool.replicas().is_none() {
        return Ok(());
    }
    let Some(text) = pool.read(|tx| tx.mark(SENT)).await? else {
        return Ok(());
    };
    match std::fs::read_to_string(noted).is_ok_and(|known| known == text) {
        true => Ok(()),
        false => file::replace(noted, 0o600, text.as_bytes()),
    }
}

/// Notes it for the others.
///
/// # Errors
/// Those of the store: they may send again what was sent.
pub async fn give(pool: &Arc<StorePool>, noted: PathBuf) -> Result<()> {
    if pool.replicas().is_none() {
        return Ok(());
    }
    let text = std::fs::read_to_string(noted).unwrap_or_default();
    let world = system::of_server();
    pool.write(move |store| store.write(&world, |tx| tx.set_mark(SENT, &text)))
        .await
}
