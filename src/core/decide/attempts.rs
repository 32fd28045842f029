//! Addresses that try many unknown keys.

use core::net::IpAddr;

use super::decision::Decision;
use super::denial::Denial;
use crate::keyset::InForce;
use crate::limit::attempts::{Attempts, AttemptsPlace, attempt};

/// Counts a request that was refused for its unknown key against its address, if the policy says
/// so, and refuses it for that instead once there were too many.
///
/// After the decision, so that requests with known keys cost nothing more, and none is refused for
/// what others at its address have tried. `address` is asked for only if it counts.
#[inline]
pub fn slow_down(
    keyset: Option<&InForce>,
    decision: &mut Decision<'_>,
    address: impl FnOnce() -> Option<IpAddr>,
    monotonic: u64,
    table: &mut impl Attempts,
) {
    if decision.verdict != Err(Denial::UnknownKey) {
        return;
    }
    let Some(keyset) = keyset else {
        return;
    };
    // While a listener still has its former policy, both count, but one rule in both only once.
    let mut rules = keyset.policies().filter_map(|policy| policy.brute_force);
    let Some(first) = rules.next() else {
        return;
    };
    let second = rules.next().filter(|second| *second != first);
    let Some(address) = address() else {
        return;
    };
    for rule in [Some(first), second].into_iter().flatten() {
        let place = AttemptsPlace::new(keyset.store(), &rule, address);
        if let Err(wait) = attempt(table, place, &rule, monotonic) {
            let retry_after = match decision.verdict {
                Err(Denial::TooManyAttempts { retry_after }) => wait.max(retry_after),
                _ => wait,
            };
            decision.verdict = Err(Denial::TooManyAttempts { retry_after });
        }
    }
}
