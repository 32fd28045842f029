//! Counts what is decided and reports it to the control plane in batches, until each is confirmed
//! ([`keystile_core::report::usage::Ledger`]); learns about quotas in return.
//!
//! Each worker has a ledger of its own for each store, so that none waits for another. They outlive
//! configurations, but not the process: what was not confirmed when Envoy ends is lost, and nothing
//! in here can report that.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keystile_core::decide::Decision;
use keystile_core::keyset::{InForce, StoreId};
use keystile_core::policy::{Address, ReportTarget};
use keystile_core::report::usage::{
    BatchSender, Ledger, PATH, Receipt, ReportAnswer, TIMEOUT, TickTime, Use, UsedFrom,
    open_receipt, open_refusal, sign_batch,
};
use keystile_core::request::headers::Headers;

use crate::abi::{Configuration, Level, Refused, Stream, log};
use crate::config::Config;
use crate::peer::source_address;
use crate::report::{self, Call};
use crate::{answers, buckets, clock, state};

/// What is counted for one store by one worker.
struct Account {
    store: StoreId,
    /// In place of a VM's number.
    number: u32,
    /// The number of its last batch.
    seq: u64,
    ledger: Arc<Mutex<Ledger>>,
    /// The call that carries the batch.
    call: Option<Call>,
    /// How many of the ledger's drops are in the metric.
    dropped: u64,
    /// Sending fails, and that has been logged.
    complained: bool,
}

static ACCOUNTS: Mutex<Vec<Account>> = Mutex::new(Vec::new());

thread_local! {
    /// Of this worker, by store.
    static MINE: RefCell<Vec<(StoreId, Arc<Mutex<Ledger>>)>> = const { RefCell::new(Vec::new()) };
}

fn accounts() -> MutexGuard<'static, Vec<Account>> {
    ACCOUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_mine(store: StoreId, f: impl FnOnce(&mut Ledger)) {
    MINE.with_borrow_mut(|mine| {
        let known = mine.iter().position(|(of, _)| *of == store);
        let at = known.unwrap_or_else(|| {
            mine.push((store, open_account(store)));
            mine.len() - 1
        });
        if let Some((_, ledger)) = mine.get(at) {
            f(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner));
        }
    });
}

#[cold]
fn open_account(store: StoreId) -> Arc<Mutex<Ledger>> {
    let mut accounts = accounts();
    let ledger = Arc::<Mutex<Ledger>>::default();
    let number = u32::try_from(accounts.len()).unwrap_or(u32::MAX);
    accounts.push(Account {
        store,
        number,
        seq: 0,
        ledger: Arc::clone(&ledger),
        call: None,
        dropped: 0,
        complained: false,
    });
    ledger
}

/// Counts a decided request, if usage is reported.
pub fn count(
    target: Option<&ReportTarget>,
    keyset: Option<&InForce>,
    config: &Config,
    decision: &Decision<'_>,
    headers: Headers<'_>,
    stream: &Stream<'_>,
) {
    let Some(target) = target else {
        return;
    };
    if decision.again && decision.verdict.is_ok() {
        return;
    }
    let route = decision
        .route
        .and_then(|i| keyset?.policy().routes.get(i))
        .map(|r| (r.stable_id, r.name.as_str()));
    let request = Use {
        key: decision.entry.map(|e| e.id),
        route,
        outcome: decision.code(),
        wall: clock::wall(),
    };
    let Some(store) = config.store() else {
        return;
    };
    with_mine(store, |ledger| {
        ledger.count(&request, || origin(target, headers, stream));
    });
}

/// Where a request comes from, as far as the policy allows it to be reported.
fn origin(target: &ReportTarget, headers: Headers<'_>, stream: &Stream<'_>) -> Option<UsedFrom> {
    let address = match target.address {
        Address::None => None,
        kept => source_address(stream).and_then(|a| kept.kept(a)),
    };
    let agent = match target.agent {
        true => headers.get("user-agent").map(UsedFrom::agent),
        false => None,
    };
    Some(UsedFrom { address, agent })
}

fn now() -> TickTime {
    let monotonic = clock::monotonic();
    TickTime {
        wall: clock::wall(),
        monotonic,
        jitter: report::jitter(monotonic),
    }
}

/// Sends what is due.
pub fn tick(host: &Configuration<'_>, config: &Config) {
    let now = now();
    let mut accounts = accounts();
    for account in accounts.iter_mut() {
        account.send(host, config, now);
    }
    show(&mut accounts, host, config);
}

impl Account {
    fn with<R>(&self, f: impl FnOnce(&mut Ledger) -> R) -> R {
        f(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn send(&mut self, host: &Configuration<'_>, config: &Config, now: TickTime) {
        // Without one, what waits is kept.
        let Some(target) = state::usage_target(self.store) else {
            return;
        };
        let sender = BatchSender {
            node: state::node(),
            epoch: report::process(),
            vm: self.number,
            claimed: clock::started(),
            store: self.store.to_string(),
        };
        let every = target.every.saturating_mul(1_000_000_000);
        let mut seq = self.seq;
        let body = self.with(|ledger| {
            let body = ledger.tick(now, every, &sender, &mut seq);
            body.map(<[u8]>::to_vec)
        });
        self.seq = seq;
        let sealed = state::with_keys(|keys| sign_batch(&body?, keys)).flatten();
        let Some(sealed) = sealed else {
            return;
        };
        match report::post(host, &target, PATH, &sealed, TIMEOUT * 1000) {
            Ok(call) => self.call = Some((config.id, call)),
            Err(Refused) => {
                self.settle(ReportAnswer::Nothing, "cannot be sent", now);
            }
        }
    }

    /// Tells the ledger what happened to a batch, and logs changes. Returns whether the batch is
    /// finished.
    fn settle(&mut self, answer: ReportAnswer<'_>, why: &str, now: TickTime) -> bool {
        let is_good = matches!(answer, ReportAnswer::Receipt(_));
        let done = self.with(|ledger| ledger.answered(answer, now));
        let is_bad = !(done && is_good);
        if core::mem::replace(&mut self.complained, is_bad) != is_bad {
            let target = state::usage_target(self.store);
            let cluster = target.as_ref().map_or("", |t| t.cluster.as_str());
            match is_bad {
                false => log(
                    Level::Info,
                    &format!("keystile: usage reaches cluster `{cluster}` again"),
                ),
                true => log(
                    Level::Warn,
                    &format!(
                        "keystile: usage for cluster `{cluster}` {why}. Counting continues, and waiting counts are sent again; see the control plane's log"
                    ),
                ),
            }
        }
        done
    }

    /// An answer to its batch arrived, or none will. Returns whether the next batch may be sent.
    fn hear(&mut self, answer: Option<&answers::CalloutAnswer>, now: TickTime) -> bool {
        let receipt = state::with_keys(|keys| {
            let answer = answer.filter(|a| a.status == 200)?;
            open_receipt(&answer.body, &answer.kid, &answer.tag, keys).ok()
        });
        // Whatever its status, an answer that the control plane did not sign is nobody's word: a
        // proxy on the way may refuse what the control plane has counted.
        let refusal = state::with_keys(|keys| {
            let answer = answer.filter(|a| a.status != 200)?;
            open_refusal(&answer.body, &answer.kid, &answer.tag, keys).ok()
        });
        if let Some(refusal) = refusal.flatten() {
            let why = "is permanently refused by the control plane";
            return self.settle(ReportAnswer::Refusal(&refusal), why, now);
        }
        match (receipt.flatten(), answer.map(|a| a.status)) {
            (Some(receipt), _) => {
                let why = "got the receipt of another batch";
                let is_done = self.settle(ReportAnswer::Receipt(&receipt), why, now);
                if is_done {
                    hear_quotas(self.store, &receipt);
                }
                is_done
            }
            (None, Some(200)) => {
                let why = "got no valid receipt";
                self.settle(ReportAnswer::Nothing, why, now);
                false
            }
            (None, Some(0) | None) => {
                self.settle(ReportAnswer::Nothing, "got no answer", now);
                false
            }
            (None, Some(status)) => {
                let why = format!("is refused: status {status}");
                self.settle(ReportAnswer::Nothing, &why, now);
                false
            }
        }
    }
}

/// Records what others have taken of quotas.
fn hear_quotas(store: StoreId, receipt: &Receipt) {
    for quota in &receipt.quotas {
        buckets::hear(store, quota);
    }
}

/// An answer arrived, or Envoy says that none will.
pub fn answered(
    host: &Configuration<'_>,
    config: &Config,
    call: Call,
    answer: Option<&answers::CalloutAnswer>,
) {
    let now = now();
    let mut accounts = accounts();
    let Some(account) = accounts.iter_mut().find(|a| a.call == Some(call)) else {
        return;
    };
    account.call = None;
    if account.hear(answer, now) {
        account.send(host, config, now);
    }
    show(&mut accounts, host, config);
}

fn show(accounts: &mut [Account], host: &Configuration<'_>, config: &Config) {
    let (mut dropped, mut waiting) = (0, 0);
    for account in accounts {
        let (all, waits) = account.with(|ledger| (ledger.dropped(), ledger.waiting()));
        dropped += all.saturating_sub(account.dropped);
        account.dropped = all;
        waiting += waits;
    }
    config.metrics.usage(host, dropped, waiting);
}
