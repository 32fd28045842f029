use super::*;
use crate::report::usage::GRAIN;
use proptest::prelude::*;
use std::collections::BTreeMap;

const T: u64 = 1_800_000_000;

fn me() -> BatchSender {
    BatchSender {
        node: "edge-1".into(),
        epoch: 9,
        vm: 1,
        claimed: 7,
        store: "0102030405060708".into(),
    }
}

/// A clock, the VM's ledger and number, and a control plane that counts each batch once.
struct World {
    ledger: Ledger,
    seq: u64,
    now: TickTime,
    decided: BTreeMap<(Option<String>, Option<String>, String), u64>,
    received: BTreeMap<u64, Batch>,
}

const EVERY: u64 = 10 * SECOND;

impl World {
    fn new() -> Self {
        Self {
            ledger: Ledger::default(),
            seq: 0,
            now: TickTime {
                wall: T,
                monotonic: SECOND,
                jitter: 0,
            },
            decided: BTreeMap::new(),
            received: BTreeMap::new(),
        }
    }

    fn ask(&mut self, key: Option<u64>, route: Option<(u64, &'static str)>, code: &'static str) {
        let key = key.map(|k| KeyId::from_u64(k).unwrap());
        let row = (
            key.map(|k| k.to_string()),
            route.map(|(_, n)| n.into()),
            code.into(),
        );
        *self.decided.entry(row).or_default() += 1;
        let request = Use {
            key,
            route,
            outcome: code,
            wall: self.now.wall,
        };
        self.ledger.count(&request, || None);
    }

    fn wait(&mut self, seconds: u64) {
        self.now.wall += seconds;
        self.now.monotonic += seconds * SECOND;
        self.now.jitter = self
            .now
            .jitter
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(1);
    }

    /// A tick; the batch that it sends.
    fn tick(&mut self) -> Option<Batch> {
        let sent = self.ledger.tick(self.now, EVERY, &me(), &mut self.seq)?;
        assert!(sent.len() <= MAX_BYTES);
        Some(serde_json::from_slice(sent).unwrap())
    }

    /// The control plane takes a batch, or knows it already.
    fn take(&mut self, batch: &Batch) -> Receipt {
        if let Some(before) = self.received.get(&batch.seq) {
            assert_eq!(before, batch, "sent again unchanged");
        }
        self.received.insert(batch.seq, batch.clone());
        Receipt {
            node: batch.node.clone(),
            epoch: batch.epoch,
            vm: batch.vm,
            claimed: batch.claimed,
            seq: batch.seq,
            quotas: Vec::new(),
        }
    }

    fn confirm(&mut self, batch: &Batch) {
        let receipt = self.take(batch);
        assert!(
            self.ledger
                .answered(ReportAnswer::Receipt(&receipt), self.now)
        );
    }

    /// Ticks until everything is confirmed.
    fn settle(&mut self) {
        for _ in 0..1000 {
            while let Some(batch) = self.tick() {
                self.confirm(&batch);
            }
            if self.ledger.is_settled() {
                return;
            }
            self.wait(1);
        }
        panic!("never settled");
    }

    fn rows(&self) -> BTreeMap<(Option<String>, Option<String>, String), u64> {
        let mut sums = BTreeMap::new();
        for batch in self.received.values() {
            for row in &batch.rows {
                let key = row.key.map(|i| batch.keys[i as usize].id.clone());
                let route = row.route.map(|i| batch.routes[i as usize].clone());
                let outcome = batch.outcomes[row.outcome as usize].clone();
                *sums.entry((key, route, outcome)).or_default() += row.requests;
            }
        }
        sums
    }

    fn received(&self) -> u64 {
        let rows = self.rows().values().sum::<u64>();
        rows + self.received.values().map(|b| b.dropped).sum::<u64>()
    }

    fn decided(&self) -> u64 {
        self.decided.values().sum()
    }
}

#[test]
fn what_was_counted_arrives_under_its_minute_key_route_and_outcome() {
    let mut w = World::new();
    w.ask(Some(7), Some((1, "GET /a")), "ok");
    w.ask(Some(7), Some((1, "GET /a")), "ok");
    w.ask(Some(7), Some((2, "/b")), "insufficient_scope");
    w.ask(None, None, "route_denied");
    w.wait(1);
    let batch = w.tick().unwrap();
    assert_eq!((batch.at, batch.seq, batch.dropped), (T, 1, 0));
    assert_eq!(batch.keys.len(), 1);
    assert_eq!(batch.keys[0].last, T);
    w.confirm(&batch);
    assert_eq!(w.rows(), w.decided);
    assert!(w.ledger.is_settled());
    w.wait(100);
    assert_eq!(w.tick(), None, "nothing counted, nothing sent");
}

#[test]
fn a_minute_is_told_soon_after_it_ends_and_a_part_of_one_after_every() {
    let mut w = World::new();
    w.ask(Some(1), None, "ok");
    let first = w.tick().unwrap();
    w.confirm(&first);
    w.ask(Some(1), None, "ok");
    let mut waited = 0;
    let second = loop {
        w.wait(1);
        waited += 1;
        if let Some(batch) = w.tick() {
            break batch;
        }
    };
    assert!((9..=12).contains(&waited), "{waited}");
    assert_eq!(
        (first.at, second.at),
        (T, T),
        "batches of one minute add up"
    );
    w.confirm(&second);

    let mut w = World::new();
    w.wait(58);
    w.ask(Some(1), None, "ok");
    let first = w.tick().unwrap();
    w.confirm(&first);
    w.ask(Some(1), None, "ok");
    w.wait(3);
    w.ask(Some(1), None, "ok");
    let mut waited = 3;
    let second = loop {
        if let Some(batch) = w.tick() {
            break batch;
        }
        w.wait(1);
        waited += 1;
    };
    assert!(waited <= 8, "{waited}");
    assert_eq!(second.at, T, "the minute that is over comes first");
}

#[test]
fn a_batch_is_sent_again_unchanged_until_its_own_receipt_comes() {
    let mut w = World::new();
    w.ask(Some(1), None, "ok");
    let batch = w.tick().unwrap();
    w.ask(Some(1), None, "ok");
    assert_eq!(w.tick(), None, "one at a time");
    w.wait(TIMEOUT + 2);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let mut pause = 0;
        while w.tick().is_none_or(|b| {
            assert_eq!(b, batch);
            false
        }) {
            w.wait(1);
            pause += 1;
        }
        let mut other = w.take(&batch);
        other.seq += 1;
        assert!(!w.ledger.answered(ReportAnswer::Receipt(&other), w.now));
        pauses.push(pause);
    }
    assert!(pauses[..5].is_sorted(), "{pauses:?}");
    assert!(pauses.iter().all(|p| *p <= 18), "{pauses:?}");
    w.settle();
    assert_eq!(w.rows(), w.decided);
}

#[test]
fn a_batch_that_is_refused_for_good_is_dropped_and_the_next_one_says_so() {
    let mut w = World::new();
    w.ask(Some(1), None, "ok");
    w.ask(Some(2), None, "ok");
    let batch = w.tick().unwrap();
    assert!(
        w.ledger
            .answered(ReportAnswer::Refusal(&batch.name()), w.now)
    );
    assert_eq!((w.ledger.dropped(), w.ledger.unconfirmed()), (2, 2));
    w.ask(Some(1), None, "ok");
    w.wait(20);
    let next = w.tick().unwrap();
    assert_eq!((next.dropped, next.seq), (2, 2));
    w.confirm(&next);
    assert_eq!((w.ledger.dropped(), w.ledger.unconfirmed()), (2, 0));
    assert_eq!(w.received(), w.decided());
}

#[test]
fn an_hour_and_more_without_a_control_plane_costs_time_stamps_and_no_counts() {
    let mut w = World::new();
    for minute in 0..3 * WAITING as u64 {
        w.ask(Some(1), Some((1, "/a")), "ok");
        w.ask(Some(minute % 5), Some((1, "/a")), "ok");
        for _ in 0..3 {
            w.tick();
            w.wait(GRAIN / 3);
        }
    }
    assert!(w.ledger.waiting() <= WAITING as u64 + 1);
    assert_eq!(w.ledger.dropped(), 0);
    w.settle();
    assert_eq!(w.rows(), w.decided);
    let minutes: std::collections::BTreeSet<u64> = w.received.values().map(|b| b.at).collect();
    assert!(minutes.len() > WAITING / 2, "{}", minutes.len());
}

#[test]
fn a_full_minute_of_talkative_keys_travels_in_batches_of_bounded_size() {
    let mut w = World::new();
    let agent = "\"".repeat(crate::report::usage::MAX_AGENT);
    for key in 0..MAX_ROWS as u64 {
        let request = Use {
            key: KeyId::from_u64(key),
            route: Some((1, "GET /a")),
            outcome: "ok",
            wall: T,
        };
        w.ledger.count(&request, || {
            Some(UsedFrom {
                address: Some("2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap()),
                agent: Some(UsedFrom::agent(agent.as_bytes())),
            })
        });
    }
    w.settle();
    assert!(w.received.len() > 2);
    let rows: usize = w.received.values().map(|b| b.rows.len()).sum();
    assert_eq!((rows, w.received()), (MAX_ROWS, MAX_ROWS as u64));
}

#[test]
fn origin_is_asked_once_for_each_key_and_tick_and_the_last_one_is_told() {
    let mut w = World::new();
    let asked = std::cell::Cell::new(0u8);
    let ask = |w: &mut World, key| {
        let request = Use {
            key: KeyId::from_u64(key),
            route: None,
            outcome: "ok",
            wall: w.now.wall,
        };
        w.ledger.count(&request, || {
            asked.set(asked.get() + 1);
            Some(UsedFrom {
                address: Some([192, 0, 2, asked.get()].into()),
                agent: None,
            })
        });
    };
    for _ in 0..5 {
        ask(&mut w, 1);
        ask(&mut w, 2);
    }
    assert_eq!(asked.get(), 2);
    let batch = w.tick().unwrap();
    w.confirm(&batch);
    w.wait(1);
    ask(&mut w, 1);
    w.tick();
    ask(&mut w, 1);
    ask(&mut w, 1);
    assert_eq!(asked.get(), 4);
    w.wait(20);
    let batch = w.tick().unwrap();
    assert_eq!(batch.keys[0].address.as_deref(), Some("192.0.2.4"));
}

#[test]
fn of_a_user_agent_only_printable_ascii_is_kept() {
    assert_eq!(&*UsedFrom::agent(b"curl/8 \xff\n\"x\""), "curl/8 ??\"x\"");
    assert_eq!(
        UsedFrom::agent(&[b'a'; 1000]).len(),
        crate::report::usage::MAX_AGENT
    );
}

mod room;
mod steps;
