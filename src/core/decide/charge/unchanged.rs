//! The state of limits on a second pass, which pays for nothing.

use super::super::due::{Bounds, Due, one};
use super::super::rate::{QuotaState, Rate};
use super::super::request::Clocks;
use crate::limit::bucket::{Buckets, Taken, seconds_up};
use crate::limit::quota::{Tallies, TallyKey};

/// The present state of the limits of a request that an earlier pass has charged; takes nothing.
/// Tokens that this worker holds in advance do not count as left.
pub(crate) fn unchanged<'k>(
    due: &Due<'k>,
    clocks: Clocks,
    stock: &mut (impl Buckets + Tallies),
) -> Option<Rate<'k>> {
    let bounds = Bounds::from_due(due);
    let (keyset, entry, route) = (due.keyset, &due.entry, due.route);
    let mut tightest: Option<(usize, Taken)> = None;
    for (i, a) in bounds.limits.iter().enumerate() {
        let charge = one(keyset, entry, route, &a, 0);
        let mut state = None;
        let read = stock.update(&charge.key, &mut |levels| {
            let stored = levels.get(&charge.bucket).unwrap_or(0);
            state = charge.bucket.take(0, stored, clocks.monotonic).ok();
            false
        });
        let state = state.filter(|_| read.is_ok())?;
        if tightest.is_none_or(|(_, t)| state.remaining < t.remaining) {
            tightest = Some((i, state));
        }
    }
    let quota = match bounds.quota {
        None => None,
        Some((plan, quota)) => {
            let window = quota.window(clocks.wall)?;
            let key = TallyKey::new(keyset.store().0, entry.lineage.as_u64());
            let mut seen = None;
            let read = stock.update_tally(&key, &mut |counts| {
                let opened = counts.open(quota.rule(), window);
                seen = opened.map(|(tally, _)| *tally);
                false
            });
            let seen = seen.filter(|_| read.is_ok())?;
            let until = window.end.saturating_sub(clocks.wall).max(1);
            Some(QuotaState {
                plan,
                requests: quota.requests,
                window,
                left: Some((seen.remaining(quota.requests), until)),
            })
        }
    };
    let (tightest, remaining, reset) = match (tightest, &quota) {
        (Some((i, state)), _) => (i, state.remaining, seconds_up(state.full_in)),
        (None, Some(quota)) => {
            let (remaining, reset) = quota.left.unwrap_or_default();
            (bounds.count, remaining, reset)
        }
        (None, None) => return None,
    };
    Some(Rate {
        limits: bounds.limits,
        tightest,
        remaining,
        reset,
        quota,
    })
}
