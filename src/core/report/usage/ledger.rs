//! What one VM has counted for one store and the control plane has not yet confirmed.
//!
//! Counting never waits for sending. A minute that is over is set aside at the next tick; from what
//! is set aside, one batch at a time is written and sent, the same bytes again and again, until a
//! receipt names it. All of this is plain state, so that a configuration push, which replaces the
//! sending context, loses and repeats nothing.
//!
//! Memory is bounded even if the control plane is down, or callers try many different things: at
//! most [`WAITING`] minutes and [`WAITING_ROWS`] rows wait. Beyond that, detail is given up in an
//! order that keeps the counts:
//! 1. refused requests are reported without their routes, then without their keys;
//! 2. requests that were let in are reported without their routes;
//! 3. the two oldest minutes are merged, which loses time stamps;
//! 4. keys that were let in are [`kept`] as three numbers each, the least recently used ones first,
//!    and reported before anything else.
//!
//! Requests that were let in keep their keys, because quotas count by them, and none of them is
//! dropped for lack of room.

mod batch;
mod kept;

use std::collections::VecDeque;

use kept::Kept;

use super::table::{Fold, Minute, OK, RowKey, Table, Use, UsedFrom, minute};
use super::{Batch, BatchRefusal, MAX_BYTES, MAX_ROWS, Receipt};
use crate::fast_hash::FastMap;
use crate::key::KeyId;

/// The most minutes that wait.
pub const WAITING: usize = 64;
/// The most rows that wait: with a key each, some 6 MiB without user agents, or 14 MiB with them.
pub const WAITING_ROWS: usize = 4 * MAX_ROWS;

const SECOND: u64 = 1_000_000_000;
/// Seconds after which an answer is no longer awaited.
pub const TIMEOUT: u64 = 5;
/// The longest pause between two attempts.
const PAUSE_MAX: u64 = 15 * SECOND;
/// What a batch is filled to, in bytes, by an estimate that is never too low.
const FILL: usize = MAX_BYTES - MAX_BYTES / 8;
/// Above this many, route names are released once nothing waits.
const ROUTES: usize = 4096;

/// Two clocks, and a number that differs between VMs and ticks.
#[derive(Clone, Copy, Debug)]
pub struct TickTime {
    /// Wall-clock seconds.
    pub wall: u64,
    /// Nanoseconds of the monotonic clock.
    pub monotonic: u64,
    /// Jitter, so that a fleet does not send all at once.
    pub jitter: u64,
}

/// The sender: the head of a [`Batch`].
#[derive(Clone, Debug, Default)]
pub struct BatchSender {
    /// Envoy's `node.id`.
    pub node: String,
    /// See [`Batch::epoch`].
    pub epoch: u64,
    /// The VM's number.
    pub vm: u32,
    /// See [`Batch::claimed`].
    pub claimed: u64,
    /// The store.
    pub store: String,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub enum ReportAnswer<'a> {
    /// A verified receipt.
    Receipt(&'a Receipt),
    /// A verified, permanent refusal.
    Refusal(&'a BatchRefusal),
    /// No answer, or none that says what happened to the batch.
    Nothing,
}

struct Flight {
    head: Batch,
    body: Vec<u8>,
    requests: u64,
    /// When to give up on the answer; `None` while waiting for the next attempt.
    until: Option<u64>,
    next: u64,
}

/// The most rows: of a minute's part, and of those that wait.
struct Bounds {
    part: usize,
    waiting: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            part: MAX_ROWS,
            waiting: WAITING_ROWS,
        }
    }
}

/// Counts that are not confirmed.
#[derive(Default)]
pub struct Ledger {
    bounds: Bounds,
    open: Table,
    /// A minute that a request found to be over. It is set aside at the next tick, because that
    /// takes time, and requests do not wait.
    over: Option<Table>,
    spare: Option<Table>,
    outcomes: Vec<&'static str>,
    routes: FastMap<u64, Box<str>>,
    waiting: VecDeque<Minute>,
    kept: Kept,
    flight: Option<Flight>,
    /// Dropped requests that are in no batch yet.
    untold: u64,
    dropped: u64,
    looks: u32,
    due: u64,
    failures: u32,
}

impl Ledger {
    /// Counts a request. `origin` is called at the first request of a key after each tick.
    pub fn count(&mut self, request: &Use<'_>, origin: impl FnOnce() -> Option<UsedFrom>) {
        let at = minute(request.wall);
        if self.open.at != at {
            self.turn(at);
        }
        let row = RowKey {
            key: request.key.map(KeyId::as_u64),
            route: request.route.map_or(0, |(id, _)| id),
            outcome: self.outcome(request.outcome),
        };
        if self.open.is_full_for(&row, self.bounds.part) {
            // The rest of the minute becomes another part of it.
            self.turn(at);
        }
        // Ticks are numbered from 1 on, so that no key counts as already seen.
        let looks = self.looks.wrapping_add(1).max(1);
        if !self.open.count(row, request.wall, looks, origin)
            && let Some((id, name)) = request.route
            && !self.routes.contains_key(&id)
        {
            self.routes.insert(id, name.into());
        }
    }

    /// The next minute begins, or another part of this one.
    fn turn(&mut self, at: u64) {
        if !self.open.is_empty() {
            let fresh = self.spare.take().unwrap_or_default();
            let over = core::mem::replace(&mut self.open, fresh);
            // Twice between two ticks: the clock was set, or callers try very many different
            // things.
            if let Some(mut older) = self.over.replace(over) {
                self.put_aside(older.drain());
            }
        }
        self.open.at = at;
    }

    fn outcome(&mut self, code: &'static str) -> u8 {
        if self.outcomes.is_empty() {
            self.outcomes.push("ok");
        }
        if code == "ok" {
            return OK;
        }
        let found = self.outcomes.iter().position(|c| *c == code);
        let position = found.unwrap_or_else(|| {
            self.outcomes.push(code);
            self.outcomes.len() - 1
        });
        u8::try_from(position).unwrap_or(u8::MAX)
    }

    /// Once a second or so, and after each answer: the bytes of a batch to send, if one is
    /// due. `every` is the longest time in nanoseconds that counts wait for their minute to
    /// end; `seq` is the number of the VM's last batch.
    pub fn tick(
        &mut self,
        now: TickTime,
        every: u64,
        sender: &BatchSender,
        seq: &mut u64,
    ) -> Option<&[u8]> {
        self.looks = self.looks.wrapping_add(1);
        self.put_aside_what_is_over(now);
        if let Some(flight) = &self.flight {
            match flight.until {
                Some(until) if now.monotonic < until => return None,
                Some(_) => self.failed(now),
                None => {}
            }
            return self.again(now);
        }
        if now.monotonic < self.due {
            return None;
        }
        if !self.open.is_empty() {
            let minute = self.open.drain();
            self.put_aside(minute);
        }
        if !self.has_more() {
            if self.routes.len() > ROUTES {
                self.routes.clear();
            }
            return None;
        }
        self.due = now.monotonic.saturating_add(about(every, now.jitter));
        self.write(sender, seq);
        self.again(now)
    }

    fn put_aside_what_is_over(&mut self, now: TickTime) {
        if !self.open.is_empty() && self.open.at != minute(now.wall) {
            self.turn(minute(now.wall));
        }
        if let Some(mut over) = self.over.take() {
            self.put_aside(over.drain());
            self.spare = Some(over);
            // Soon, but not all VMs of a fleet in the first second of each minute.
            let soon = now.monotonic.saturating_add(now.jitter % (5 * SECOND));
            self.due = self.due.min(soon);
        }
    }

    fn put_aside(&mut self, minute: Minute) {
        self.waiting.push_back(minute);
        while self.waiting.len() > WAITING && self.join_two() {}
        for fold in Fold::ALL {
            for i in 0..self.waiting.len() {
                if self.waiting_rows() <= self.bounds.waiting {
                    return;
                }
                if let Some(minute) = self.waiting.get_mut(i) {
                    minute.fold(fold);
                }
            }
        }
        while self.waiting_rows() > self.bounds.waiting && self.join_two() {}
        let too_many = self.waiting_rows().saturating_sub(self.bounds.waiting);
        if too_many > 0
            && let Some(all) = self.waiting.front_mut()
        {
            self.kept.add(all.at, all.give_up(too_many));
        }
    }

    /// Merges the two oldest parts of the same minute or, if there are none, the two oldest
    /// minutes. `false` if there is only one.
    fn join_two(&mut self) -> bool {
        let starts = self.waiting.iter().map(|m| m.at);
        let mut pairs = starts.clone().zip(starts.skip(1));
        let first = pairs.position(|(a, b)| a == b).unwrap_or(0);
        if self.waiting.len() < 2 {
            return false;
        }
        let Some(older) = self.waiting.remove(first) else {
            return false;
        };
        if let Some(next) = self.waiting.get_mut(first) {
            next.absorb(older);
        }
        true
    }

    fn waiting_rows(&self) -> usize {
        self.waiting.iter().map(Minute::room).sum()
    }

    fn again(&mut self, now: TickTime) -> Option<&[u8]> {
        let flight = self.flight.as_mut()?;
        if now.monotonic < flight.next {
            return None;
        }
        // The host's own timeout is earlier.
        flight.until = Some(now.monotonic.saturating_add((TIMEOUT + 1) * SECOND));
        Some(&flight.body)
    }

    /// What happened to the batch that was sent. `false` if it has to be sent again.
    pub fn answered(&mut self, answer: ReportAnswer<'_>, now: TickTime) -> bool {
        let Some(flight) = &self.flight else {
            return true;
        };
        let head = flight.head.name();
        match answer {
            ReportAnswer::Receipt(receipt) if receipt.name() == head => {}
            ReportAnswer::Refusal(refusal) if *refusal == head => {
                let requests = flight.requests.saturating_sub(flight.head.dropped);
                self.dropped = self.dropped.saturating_add(requests);
                self.untold = self.untold.saturating_add(flight.requests);
            }
            ReportAnswer::Receipt(_) | ReportAnswer::Refusal(_) | ReportAnswer::Nothing => {
                self.failed(now);
                return false;
            }
        }
        self.flight = None;
        self.failures = 0;
        if self.has_more() {
            self.due = now.monotonic;
        }
        true
    }

    /// Pauses, each time twice as long.
    fn failed(&mut self, now: TickTime) {
        let pause = SECOND
            .saturating_mul(1 << self.failures.min(6))
            .min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        if let Some(flight) = &mut self.flight {
            flight.until = None;
            flight.next = now.monotonic.saturating_add(about(pause, now.jitter));
        }
    }

    /// Whether there is anything to make a batch of.
    fn has_more(&self) -> bool {
        !self.waiting.is_empty() || self.kept.len() > 0
    }

    /// Batches that wait, the one that is sent included.
    pub fn waiting(&self) -> u64 {
        let kept = self.kept.len().div_ceil(MAX_ROWS);
        (self.waiting.len() + kept + usize::from(self.flight.is_some())) as u64
    }

    /// Failed attempts since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Requests that are in no row of any batch, because the control plane refused the batch. Only
    /// increases.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether all that was counted is confirmed.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty() && self.over.is_none() && self.waiting() == 0
    }

    /// Requests that no receipt has confirmed, including those that have been dropped since.
    pub fn unconfirmed(&self) -> u64 {
        let waiting = self.waiting.iter().map(Minute::requests);
        let tables = [Some(&self.open), self.over.as_ref()];
        let tables = tables.into_iter().flatten().map(Table::requests);
        let flight = self.flight.iter().map(|f| f.requests);
        let all = waiting.chain(tables).chain(flight);
        let all = all.chain([self.kept.requests()]);
        all.fold(self.untold, u64::saturating_add)
    }
}

/// A length as the position of the last.
fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).saturating_sub(1)
}

/// A tenth more or less.
fn about(ns: u64, jitter: u64) -> u64 {
    let spread = jitter % (ns / 5).max(1);
    ns.saturating_sub(ns / 10).saturating_add(spread)
}

#[cfg(test)]
mod tests;
