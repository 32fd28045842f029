//! What a process has seen of a database, which does not go back: one that was put back to an earlier
//! state lacks changes that were acknowledged, revocations perhaps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use keystile_model::audit::Head;
use keystile_model::error::{Code, Error, Result, refuse};

use super::Tx;

/// The end of the audit log as far as it was seen over any connection of a process.
#[derive(Default)]
pub struct SeenHead {
    head: Mutex<Option<Head>>,
    went_back: AtomicBool,
}

impl SeenHead {
    /// Fails if the database was seen to go back.
    ///
    /// # Errors
    /// If it was.
    pub fn went_on(&self) -> Result<()> {
        match self.went_back.load(Ordering::Relaxed) {
            true => Err(gone_back()),
            false => Ok(()),
        }
    }

    /// To be asked for before a transaction begins: what is committed by then is seen in it.
    pub(super) fn head(&self) -> Option<Head> {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that a transaction sees all that was seen before it.
    pub(super) fn check(&self, tx: &Tx<'_>, before: Option<Head>) -> Result<()> {
        self.went_on()?;
        let now = tx.meta.head;
        let goes_on = match before {
            None => true,
            Some(before) if before == now => return Ok(()),
            Some(before) => now.seq > before.seq && tx.continues(before)?,
        };
        if !goes_on {
            self.went_back.store(true, Ordering::Relaxed);
            return Err(gone_back());
        }
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if head.is_none_or(|head| head.seq < now.seq) {
            *head = Some(now);
        }
        Ok(())
    }
}

fn gone_back() -> Error {
    refuse(
        Code::StoreAccess,
        "the database was put back to an earlier state while the server was running: it lacks changes that were acknowledged",
        "nothing was changed; stop every server, and see `Restoring to a point in time` in the guide",
    )
}
