//! Whether the usage that a server shows is what was answered: for each key and each outcome.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::Edge;
use crate::judge::Breach;
use crate::load::Ground;
use crate::wire::Api;

/// How long the last batch may be under way.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was compared.
pub struct Compared {
    pub counted: u64,
    pub keys: usize,
    pub outcomes: usize,
    pub mistakes: u64,
}

/// Compares it, once all of it has arrived.
pub fn compare(
    ground: &Ground,
    api: &Api,
    edges: &[Edge],
    outcomes: &BTreeMap<String, u64>,
) -> Compared {
    let answered = outcomes.values().sum();
    let began = Instant::now();
    let waits = || {
        edges
            .iter()
            .any(|e| e.gauge("usage_waiting_batches") != Some(0))
    };
    while began.elapsed() < PATIENCE && (total(&ask(api, "")) < answered || waits()) {
        std::thread::sleep(Duration::from_millis(250));
    }
    let all = ask(api, "&by=outcome&limit=200");
    let mut mistakes = 0;
    let mut same = |what: &str, answered: u64, counted: u64| {
        if answered != counted {
            mistakes += 1;
            let words = format!("{what}: {answered} answered, {counted} counted");
            ground.recorder.breach(Breach::Miscounted, words);
        }
    };
    same("all", answered, total(&all));
    let groups = all["groups"].as_array().into_iter().flatten();
    let name = |group: &Value| group["name"].as_str().unwrap_or("-").to_owned();
    let mut counted: BTreeMap<String, u64> = groups.map(|g| (name(g), total(g))).collect();
    for (outcome, n) in outcomes {
        same(outcome, *n, counted.remove(outcome).unwrap_or(0));
    }
    for (outcome, n) in counted {
        same(&outcome, 0, n);
    }
    let keys = ground.ledger.all();
    for held in &keys {
        let shown = ask(api, &format!("&key={}", held.id));
        same(&held.id, held.answered(), total(&shown));
    }
    Compared {
        counted: total(&all),
        keys: keys.len(),
        outcomes: outcomes.len(),
        mistakes,
    }
}

fn ask(api: &Api, words: &str) -> Value {
    match api.get(&format!("/v1/usage?since=12h{words}")) {
        Ok((200, shown)) => shown,
        other => panic!("usage: {other:?}"),
    }
}

fn total(shown: &Value) -> u64 {
    shown["requests"].as_u64().unwrap_or(0)
}
