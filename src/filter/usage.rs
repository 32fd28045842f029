//! Counts what this VM decides and reports it to the control plane in batches, until each is
//! confirmed ([`keystile_core::report::usage::Ledger`]); learns about quotas in return.
//!
//! Counts belong to the VM and outlive configuration pushes. They do not outlive the VM: what was
//! not confirmed when Envoy ends, drops a worker or catches a trap is lost, and nothing in here can
//! report that.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::time::Duration;

use super::host::{self, Level};
use super::quotas::SharedTallies;
use super::slots::{self, Slot};
use super::{metrics, report, vm};
use keystile_core::decide::Decision;
use keystile_core::keyset::{InForce, StoreId};
use keystile_core::policy::{Address, ReportTarget};
use keystile_core::report::message::{KID_HEADER, SIGNATURE_HEADER};
use keystile_core::report::usage::{
    BatchSender, Ledger, PATH, Receipt, ReportAnswer, TIMEOUT, TickTime, Use, UsedFrom,
    open_receipt, open_refusal, sign_batch,
};
use keystile_core::request::headers::Headers;

/// What is counted for one store.
struct Account {
    store: StoreId,
    /// The target according to the latest policy. `None`: what is waiting is kept, but nothing more
    /// is counted.
    target: Option<ReportTarget>,
    ledger: Ledger,
    /// The call that carries the batch.
    token: Option<u32>,
    /// How many of the ledger's drops are in the metric.
    dropped: u64,
    /// Sending fails, and that has been logged.
    complained: bool,
}

thread_local! {
    static ACCOUNTS: RefCell<Vec<Account>> = const { RefCell::new(Vec::new()) };
    /// The number of this VM's last batch.
    static SEQ: Cell<u64> = const { Cell::new(0) };
    static EPOCH: Cell<Option<u64>> = const { Cell::new(None) };
}

/// A root context was configured: reads from what is in force whether and where to report.
#[inline(never)]
pub fn configured(store: StoreId) {
    let mut target = None;
    vm::each(|s, held| {
        if s == store {
            target = held.report().filter(|t| t.usage).cloned();
        }
    });
    ACCOUNTS.with_borrow_mut(
        |accounts| match accounts.iter_mut().find(|a| a.store == store) {
            Some(account) => account.target = target,
            None if target.is_some() => accounts.push(Account {
                store,
                target,
                ledger: Ledger::default(),
                token: None,
                dropped: 0,
                complained: false,
            }),
            None => {}
        },
    );
}

/// Counts a decided request.
pub fn count(
    store: StoreId,
    keyset: Option<&InForce>,
    decision: &Decision<'_>,
    headers: Headers<'_>,
    address: Option<IpAddr>,
    wall: u64,
) {
    if decision.again && decision.verdict.is_ok() {
        return;
    }
    ACCOUNTS.with_borrow_mut(|accounts| {
        let Some(account) = accounts.iter_mut().find(|a| a.store == store) else {
            return;
        };
        let Some(target) = &account.target else {
            return;
        };
        let route = decision
            .route
            .and_then(|i| keyset?.policy().routes.get(i))
            .map(|r| (r.stable_id, r.name.as_str()));
        let request = Use {
            key: decision.entry.map(|e| e.id),
            route,
            outcome: decision.code(),
            wall,
        };
        account
            .ledger
            .count(&request, || origin(target, headers, address));
    });
}

/// Where a request comes from, as far as the policy allows it to be reported.
fn origin(
    target: &ReportTarget,
    headers: Headers<'_>,
    address: Option<IpAddr>,
) -> Option<UsedFrom> {
    let address = match target.address {
        Address::None => None,
        kept => address
            .or_else(super::peer::source_address)
            .and_then(|a| kept.kept(a)),
    };
    let agent = match target.agent {
        true => headers.get("user-agent").map(UsedFrom::agent),
        false => None,
    };
    Some(UsedFrom { address, agent })
}

/// Sends what is due.
#[inline(never)]
pub fn tick() {
    let Some(slot) = slots::mine() else {
        return;
    };
    let now = now(slot);
    // The borrow of the ledgers ends before the host is called, because it may call back.
    let stores: Vec<StoreId> =
        ACCOUNTS.with_borrow(|accounts| accounts.iter().map(|a| a.store).collect());
    for store in stores {
        send(store, slot, now);
        show(store, slot);
    }
    ACCOUNTS.with_borrow_mut(|accounts| {
        accounts.retain(|a| a.target.is_some() || !a.ledger.is_settled());
    });
}

fn now(slot: Slot) -> TickTime {
    let monotonic = host::monotonic_ns();
    TickTime {
        wall: host::wall_seconds(),
        monotonic,
        jitter: report::jitter(slot, monotonic),
    }
}

fn with<R>(store: StoreId, f: impl FnOnce(&mut Account) -> R) -> Option<R> {
    ACCOUNTS.with_borrow_mut(|accounts| accounts.iter_mut().find(|a| a.store == store).map(f))
}

#[inline(never)]
fn send(store: StoreId, slot: Slot, now: TickTime) {
    let Some(epoch) = epoch(now) else {
        return;
    };
    let sender = BatchSender {
        node: report::node(),
        epoch,
        vm: slot.n,
        claimed: slot.claimed,
        store: store.to_string(),
    };
    let due = with(store, |account| {
        let target = account.target.clone()?;
        let every = target.every.saturating_mul(1_000_000_000);
        let mut seq = SEQ.get();
        let body = account.ledger.tick(now, every, &sender, &mut seq);
        SEQ.set(seq);
        let sealed = vm::with_keys(|keys| sign_batch(body?, keys)).flatten()?;
        Some((target, sealed))
    });
    let Some((target, sealed)) = due.flatten() else {
        return;
    };
    let headers = [
        (KID_HEADER, sealed.kid.as_str()),
        (SIGNATURE_HEADER, sealed.tag.as_str()),
    ];
    let timeout = Duration::from_secs(TIMEOUT);
    match host::post(&target, PATH, &headers, &sealed.body, timeout) {
        Ok(token) => {
            let _ = with(store, |account| account.token = Some(token));
        }
        Err(status) => {
            let why = format!("cannot be sent: status {}", status.0);
            settle(store, ReportAnswer::Nothing, &why, now);
        }
    }
}

/// An answer arrived, or Envoy says that none will.
pub fn answered(token: u32, body_size: usize) {
    let store = ACCOUNTS.with_borrow_mut(|accounts| {
        let account = accounts.iter_mut().find(|a| a.token == Some(token))?;
        account.token = None;
        Some(account.store)
    });
    let (Some(store), Some(slot)) = (store, slots::mine()) else {
        return;
    };
    let now = now(slot);
    let response = host::call_response(body_size);
    let receipt = vm::with_keys(|keys| {
        let response = response.as_ref().filter(|r| r.status == 200)?;
        open_receipt(&response.body, &response.kid, &response.tag, keys).ok()
    });
    // Whatever its status, an answer that the control plane did not sign proves nothing: a proxy on
    // the path may refuse what the control plane has counted.
    let refusal = vm::with_keys(|keys| {
        let response = response.as_ref().filter(|r| r.status != 200)?;
        open_refusal(&response.body, &response.kid, &response.tag, keys).ok()
    });
    if let Some(refusal) = refusal.flatten() {
        let why = "is permanently refused by the control plane";
        if settle(store, ReportAnswer::Refusal(&refusal), why, now) {
            send(store, slot, now);
        }
        show(store, slot);
        return;
    }
    match (receipt.flatten(), response.map(|r| r.status)) {
        (Some(receipt), _) => {
            let why = "got the receipt of another batch";
            if settle(store, ReportAnswer::Receipt(&receipt), why, now) {
                hear(store, &receipt);
                send(store, slot, now);
            }
        }
        (None, Some(200)) => {
            let why = "got no valid receipt";
            settle(store, ReportAnswer::Nothing, why, now);
        }
        (None, Some(0) | None) => {
            settle(store, ReportAnswer::Nothing, "got no answer", now);
        }
        (None, Some(status)) => {
            let why = format!("is refused: status {status}");
            settle(store, ReportAnswer::Nothing, &why, now);
        }
    }
    show(store, slot);
}

/// Tells the ledger what happened to a batch, and logs changes. Gives whether the batch is
/// finished.
#[inline(never)]
fn settle(store: StoreId, answer: ReportAnswer<'_>, why: &str, now: TickTime) -> bool {
    let is_good = matches!(answer, ReportAnswer::Receipt(_));
    let told = with(store, |account| {
        let done = account.ledger.answered(answer, now);
        let is_bad = !(done && is_good);
        let changed = account.complained != is_bad;
        account.complained = is_bad;
        let cluster = account.target.as_ref().map(|t| t.cluster.clone());
        (done, is_bad, changed, cluster.unwrap_or_default())
    });
    let Some((done, is_bad, changed, cluster)) = told else {
        return false;
    };
    match (changed, is_bad) {
        (false, _) => {}
        (true, false) => host::log(
            Level::Info,
            &format!("keystile: usage reaches cluster `{cluster}` again"),
        ),
        (true, true) => host::log(
            Level::Warn,
            &format!(
                "keystile: usage for cluster `{cluster}` {why}. Counting continues, and waiting counts are sent again; see the control plane's log"
            ),
        ),
    }
    done
}

/// Records what others have taken of quotas.
#[inline(never)]
fn hear(store: StoreId, receipt: &Receipt) {
    for quota in &receipt.quotas {
        SharedTallies.hear(store, quota);
    }
}

#[inline(never)]
fn show(store: StoreId, slot: Slot) {
    let figures = with(store, |account| {
        let dropped = account.ledger.dropped();
        let new = dropped.saturating_sub(account.dropped);
        account.dropped = dropped;
        (new, account.ledger.waiting())
    });
    if let Some((dropped, waiting)) = figures {
        metrics::usage_dropped(dropped);
        metrics::usage_waiting(slot.n, waiting);
    }
}

/// The number of this run of Envoy: the first VM that asks draws it for all.
#[inline(never)]
fn epoch(now: TickTime) -> Option<u64> {
    const KEY: &[u8] = b"keystile/epoch";
    if let known @ Some(_) = EPOCH.get() {
        return known;
    }
    let read = || match host::shared_data(KEY) {
        Ok(Some((bytes, _))) => bytes.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    };
    let epoch = read().or_else(|| {
        // Two Envoys that start in the same second differ in the noise of their clocks.
        let new = now.wall.rotate_left(32) ^ now.monotonic ^ now.jitter.rotate_left(16);
        match host::set_shared_data(KEY, &new.to_be_bytes(), host::CAS_ABSENT) {
            Ok(()) => Some(new),
            Err(_) => read(),
        }
    });
    EPOCH.set(epoch);
    epoch
}
