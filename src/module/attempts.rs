//! Unknown keys by address, in the memory of this Envoy process: exact across its workers, and of a
//! fixed size, which is taken only once some policy counts them and some caller tries one.

use std::sync::{LazyLock, Mutex, PoisonError};

use core::net::IpAddr;

use keystile_core::decide::{self, Decision};
use keystile_core::keyset::InForce;
use keystile_core::limit::attempts::{Attempts, AttemptsSet, SETS};
use keystile_core::limit::bucket::Contended;

use crate::abi::Stream;
use crate::peer::source_address;

static ALL: LazyLock<Vec<Mutex<AttemptsSet>>> =
    LazyLock::new(|| (0..SETS).map(|_| Mutex::default()).collect());

/// The table of this process.
struct ProcessAttempts;

impl Attempts for ProcessAttempts {
    fn update_set(
        &mut self,
        set: u16,
        f: &mut dyn FnMut(&mut AttemptsSet) -> bool,
    ) -> Result<(), Contended> {
        let set = ALL.get(usize::from(set)).ok_or(Contended)?;
        // A panic leaves a set as it was, or with one attempt more.
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = *set;
        if f(&mut changed) {
            *set = changed;
        }
        Ok(())
    }
}

/// [`decide::slow_down`] by that table, for a request whose address may have been read already.
pub fn slow_down(
    keyset: Option<&InForce>,
    decision: &mut Decision<'_>,
    (stream, address): (&Stream<'_>, Option<IpAddr>),
    monotonic: u64,
) {
    let address = || address.or_else(|| source_address(stream));
    decide::slow_down(keyset, decision, address, monotonic, &mut ProcessAttempts);
}
