//! Which version each VM has in force, proved by a gauge per VM.
//!
//! A VM cannot see which worker it belongs to, so VMs claim numbers in shared data and keep them
//! with a heartbeat. Numbers of dead VMs (a crash, fewer workers) are claimed again; until then
//! their gauge is set to zero. Envoy's main thread has a VM too: with two workers there are three
//! numbers. The canary VM that tests a configuration never ticks, so it claims none.

use std::cell::Cell;

use super::{floors, host, metrics, vm};

const SLOTS: u32 = 256;
/// A VM whose heartbeat is older is dead. Ticks come every second.
const DEAD_AFTER_NS: u64 = 5_000_000_000;

const PROCESS: &[u8] = b"keystile/process";

thread_local! {
    static MINE: Cell<Option<Slot>> = const { Cell::new(None) };
}

/// A number, and when it was claimed, which distinguishes its owner from a VM that claims it after
/// the owner was taken for dead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The number.
    pub n: u32,
    /// The instant, in nanoseconds of the monotonic clock.
    pub claimed: u64,
}

/// The number of this VM; none before its first tick.
pub fn mine() -> Option<Slot> {
    MINE.get()
}

/// Distinguishes this Envoy process from all others: made from the clocks by the VM that needs it
/// first, and the same for every VM. `None` if the host has no shared data.
#[inline(never)]
pub fn process() -> Option<u64> {
    // Read again in case another VM was first.
    for _ in 0..2 {
        if let Some((bytes, _)) = host::shared_data(PROCESS).ok()? {
            return floors::number(&bytes);
        }
        let (wall, since_boot) = (host::wall_ns()?, host::monotonic_ns());
        let made = scatter(wall ^ scatter(since_boot));
        if host::set_shared_data(PROCESS, &made.to_be_bytes(), host::CAS_ABSENT).is_ok() {
            return Some(made);
        }
    }
    None
}

/// Scatters numbers that are close to each other (SplitMix64).
pub fn scatter(mut n: u64) -> u64 {
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// What shared data holds for a number: the time of the claim and the last heartbeat.
fn heartbeat(claimed: u64, now: u64) -> [u8; 16] {
    let both = u128::from(claimed) << 64 | u128::from(now);
    both.to_be_bytes()
}

fn slot_key(n: u32) -> String {
    format!("keystile/vm/{n}")
}

/// Once a second: heartbeat, gauges, and the numbers of dead VMs. Gives the number of live VMs.
#[inline(never)]
pub fn tick() -> u32 {
    let now = host::monotonic_ns();
    let mine = MINE
        .get()
        .filter(|slot| beat(*slot, now))
        .or_else(|| claim(now));
    MINE.set(mine);
    raise_floors();
    publish();
    let mut living = 0;
    for n in 0..SLOTS {
        match host::shared_data(slot_key(n).as_bytes()) {
            Ok(Some((bytes, _))) if mine.is_none_or(|slot| slot.n != n) && is_dead(&bytes, now) => {
                metrics::version_in_force(n, 0);
                metrics::overlay_without_base(n, false);
            }
            Ok(Some(_)) => living += 1,
            _ => break,
        }
    }
    living
}

/// Renews the heartbeat of this VM; `false` if it was taken for dead and its number claimed.
#[inline(never)]
fn beat(slot: Slot, now: u64) -> bool {
    let key = slot_key(slot.n);
    match host::shared_data(key.as_bytes()) {
        Ok(Some((bytes, cas))) if claimed_at(&bytes) == Some(slot.claimed) => {
            let value = heartbeat(slot.claimed, now);
            host::set_shared_data(key.as_bytes(), &value, cas).is_ok()
        }
        _ => false,
    }
}

/// Something was put in force. In a VM that ticks, this counts for all others at once, because all
/// of them may be gone before the next tick.
#[inline(never)]
pub fn taken() {
    if MINE.get().is_some() {
        raise_floors();
        publish();
    }
}

/// Only a VM that ticks does this, because the canary's configuration may still be discarded.
fn raise_floors() {
    vm::each(|store, held| floors::raise(store, held.version()));
}

/// Shows what this VM has in force, if it has a number.
#[inline(never)]
fn publish() {
    let Some(Slot { n, .. }) = MINE.get() else {
        return;
    };
    let (mut version, mut issued, mut lacks) = (0, u64::MAX, false);
    let (mut keys, mut changed) = (0, 0);
    vm::each(|_, held| {
        lacks |= held.waiting().is_some();
        if let Some(in_force) = held.in_force() {
            let (base, overlay) = in_force.lens();
            version = version.max(in_force.version());
            keys += base;
            changed += overlay;
            issued = issued.min(in_force.issued_at());
        }
    });
    metrics::version_in_force(n, version);
    metrics::overlay_without_base(n, lacks);
    metrics::keys(keys as u64, changed as u64);
    if issued != u64::MAX {
        metrics::age(host::wall_seconds().saturating_sub(issued));
    }
}

fn halves(value: &[u8]) -> Option<(u64, u64)> {
    let both = u128::from_be_bytes(value.try_into().ok()?);
    Some(((both >> 64) as u64, both as u64))
}

fn claimed_at(value: &[u8]) -> Option<u64> {
    halves(value).map(|(claimed, _)| claimed)
}

fn is_dead(value: &[u8], now: u64) -> bool {
    halves(value).is_none_or(|(_, beat)| now.saturating_sub(beat) > DEAD_AFTER_NS)
}

#[inline(never)]
fn claim(now: u64) -> Option<Slot> {
    for n in 0..SLOTS {
        let key = slot_key(n);
        let cas = match host::shared_data(key.as_bytes()) {
            Ok(None) => host::CAS_ABSENT,
            Ok(Some((bytes, cas))) if is_dead(&bytes, now) => cas,
            Ok(Some(_)) => continue,
            Err(_) => return None,
        };
        // The loser of the race for this number tries the next.
        if host::set_shared_data(key.as_bytes(), &heartbeat(now, now), cas).is_ok() {
            return Some(Slot { n, claimed: now });
        }
    }
    None
}
