//! Unknown keys by address, in shared data: exact across workers, and no more values than the table
//! has sets, because shared data cannot be deleted.

use super::swap::swap;
use keystile_core::limit::attempts::{Attempts, AttemptsSet};
use keystile_core::limit::bucket::Contended;

/// The table of this Envoy process.
pub struct SharedAttempts;

impl Attempts for SharedAttempts {
    fn update_set(
        &mut self,
        set: u16,
        f: &mut dyn FnMut(&mut AttemptsSet) -> bool,
    ) -> Result<(), Contended> {
        let mut key = *b"keystile/attempts/--";
        if let Some(number) = key.last_chunk_mut() {
            *number = set.to_be_bytes();
        }
        swap(&key, |stored| {
            let mut found = match stored {
                Some(bytes) => AttemptsSet::from_bytes(bytes)?,
                None => AttemptsSet::default(),
            };
            let is_changed = f(&mut found);
            if is_changed {
                *stored = Some(found.as_bytes().to_vec().into());
            }
            Some(is_changed)
        })
    }
}
