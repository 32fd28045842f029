//! A change each second: a key is issued, updated, rotated or revoked, in turn, at each server in turn.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::judge::{Breach, Weather};
use crate::ledger::Held;
use crate::load::Ground;
use crate::seed::Dice;
use crate::wire::Api;

/// Time between two changes.
const PACE: Duration = Duration::from_secs(1);
/// How long the old key works after a rotation, and what seconds are rounded by.
const GRACE: Duration = Duration::from_secs(1);
const ROUNDED: Duration = Duration::from_secs(1);
/// How long a proof may take.
const PROVED: Duration = Duration::from_secs(10);
/// Proofs that are waited for at once.
const WAITING: usize = 32;

/// What became of all changes.
#[derive(Default)]
pub struct Changes {
    /// By what was done and what became of it.
    pub counts: BTreeMap<(&'static str, &'static str), u64>,
    /// From the answer to a change to the proof of every Envoy.
    pub proved: Vec<Duration>,
}

/// Makes changes.
pub struct Writer {
    pub ground: Ground,
    pub servers: Vec<Api>,
    pub dice: Dice,
    /// Hands the newest keyset to Envoys that take it from a file.
    pub push: Arc<dyn Fn() + Send + Sync>,
    /// Whether the end of a grace period can be believed: clocks stand right.
    pub has_clock: bool,
    live: Vec<Arc<Held>>,
    changes: Arc<Mutex<Changes>>,
    proofs: Vec<thread::JoinHandle<()>>,
}

impl Writer {
    pub fn new(ground: &Ground, servers: Vec<Api>, dice: Dice) -> Self {
        Self {
            ground: ground.clone(),
            servers,
            dice,
            push: Arc::new(|| {}),
            has_clock: true,
            live: Vec::new(),
            changes: Arc::default(),
            proofs: Vec::new(),
        }
    }

    /// Until it is told to stop; what became of it.
    pub fn run(mut self, stop: &AtomicBool) -> Changes {
        let began = Instant::now();
        for n in 0_u32.. {
            while began.elapsed() < PACE * n {
                if stop.load(Ordering::Relaxed) {
                    self.proofs.into_iter().for_each(|p| p.join().unwrap());
                    return std::mem::take(&mut self.changes.lock().unwrap());
                }
                thread::sleep(Duration::from_millis(20));
            }
            let api = self.servers[n as usize % self.servers.len()].clone();
            match n % 4 {
                0 => self.issue(&api, n),
                1 => self.update(&api, n),
                2 => self.rotate(&api),
                _ => self.revoke(&api),
            }
        }
        Changes::default()
    }

    fn issue(&mut self, api: &Api, n: u32) {
        let body = json!({"client": format!("c{}", n / 4 % 4), "scopes": ["read"]});
        if let Some(made) = self.change("issue", api, "POST", "/v1/keys", &body) {
            self.come(api, &made);
        }
    }

    /// A key that was answered.
    fn come(&mut self, api: &Api, made: &Value) {
        let word = |field: &str| made[field].as_str().unwrap_or_default().to_owned();
        let held = Held::new(&word("key"), &word("id"));
        word("name").clone_into(&mut held.names.lock().unwrap().0);
        self.ground.ledger.add(&held);
        self.live.push(Arc::clone(&held));
        self.prove(api, move |at| {
            let _ = held.open.set(at);
        });
    }

    fn update(&mut self, api: &Api, n: u32) {
        let Some(held) = self.any() else { return };
        let name = format!("name-{n}");
        held.names.lock().unwrap().1.push(name.clone());
        let path = format!("/v1/keys/{}", held.id);
        let done = self.change("update", api, "PATCH", &path, &json!({"name": name}));
        if done.is_some() {
            let mut names = held.names.lock().unwrap();
            names.1.retain(|other| *other != name);
            names.0 = name;
        }
    }

    fn rotate(&mut self, api: &Api) {
        let Some(held) = self.take() else { return };
        let path = format!("/v1/keys/{}/rotate", held.id);
        let grace = format!("{}s", GRACE.as_secs());
        let _ = held.doubtful.set(Instant::now());
        let made = self.change("rotate", api, "POST", &path, &json!({"grace": grace}));
        let Some(made) = made else { return };
        let ends = Instant::now() + GRACE + ROUNDED;
        self.come(api, &made);
        if self.has_clock {
            self.prove(api, move |at| {
                let _ = held.shut.set(at.max(ends));
            });
        }
    }

    fn revoke(&mut self, api: &Api) {
        let Some(held) = self.take() else { return };
        let path = format!("/v1/keys/{}/revoke", held.id);
        let _ = held.doubtful.set(Instant::now());
        let done = self.change(
            "revoke",
            api,
            "POST",
            &path,
            &json!({"reason": "endurance"}),
        );
        if done.is_none() {
            return;
        }
        let revoked = &self.ground.ledger.revoked;
        revoked.lock().unwrap().push(Arc::clone(&held));
        self.prove(api, move |at| {
            let _ = held.shut.set(at);
        });
    }

    /// One that lives on.
    fn any(&mut self) -> Option<Arc<Held>> {
        let live = !self.live.is_empty();
        live.then(|| Arc::clone(self.dice.pick(&self.live)))
    }

    /// One that lives no longer.
    fn take(&mut self) -> Option<Arc<Held>> {
        let live = self.live.len();
        (live > 0).then(|| self.live.swap_remove(self.dice.below(live)))
    }

    /// The answer to a change, if it was acknowledged.
    fn change(
        &mut self,
        what: &'static str,
        api: &Api,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Option<Value> {
        let answer = api.call(method, path, body);
        let became = match &answer {
            Ok((200 | 201, _)) => "acknowledged",
            Ok(_) => "refused",
            Err(_) => "unanswered",
        };
        let mut changes = self.changes.lock().unwrap();
        *changes.counts.entry((what, became)).or_default() += 1;
        drop(changes);
        if became != "acknowledged" && self.ground.weather == Weather::Fair {
            let words = format!("{what}: {answer:?}");
            self.ground.recorder.breach(Breach::Failed, words);
        }
        answer
            .ok()
            .filter(|_| became == "acknowledged")
            .map(|(_, body)| body)
    }

    /// Waits until every Envoy has proved the newest version, and tells when; not at all if that
    /// does not come.
    fn prove(&mut self, api: &Api, then: impl FnOnce(Instant) + Send + 'static) {
        self.proofs.retain(|proof| !proof.is_finished());
        let (mut api, ground) = (api.clone(), self.ground.clone());
        api.patience = PROVED + Duration::from_secs(5);
        let changes = Arc::clone(&self.changes);
        let push = Arc::clone(&self.push);
        let answered = Instant::now();
        let wait = move || {
            push();
            match proof(&api, PROVED) {
                Ok(()) => {
                    then(Instant::now());
                    changes.lock().unwrap().proved.push(answered.elapsed());
                }
                Err(words) if ground.weather == Weather::Fair => {
                    ground.recorder.breach(Breach::Failed, words);
                }
                Err(_) => {}
            }
        };
        if self.proofs.len() < WAITING {
            self.proofs.push(thread::spawn(wait));
        }
    }
}

/// Waits until every Envoy has proved the newest version.
pub fn proof(api: &Api, patience: Duration) -> Result<(), String> {
    let path = format!("/v1/fleet/in-force?patience={}s", patience.as_secs());
    match api.get(&path) {
        Ok((200, waited)) if waited["done"] == true => Ok(()),
        other => Err(format!("no proof: {other:?}")),
    }
}

/// What was acknowledged and is not in the store.
pub fn lost(ground: &Ground, api: &Api) -> usize {
    let mut missing = 0;
    let mut tell = |words: String| {
        missing += 1;
        ground.recorder.breach(Breach::Lost, words);
    };
    let revoked = ground.ledger.revoked.lock().unwrap();
    for held in ground.ledger.all() {
        let answer = api.get(&format!("/v1/keys/{}", held.id));
        let Ok((200, shown)) = answer else {
            tell(format!("{}: {answer:?}", held.id));
            continue;
        };
        let names = held.names.lock().unwrap();
        let name = shown["name"].as_str().unwrap_or_default();
        if name != names.0 && !names.1.iter().any(|other| other == name) {
            tell(format!("{}: `{name}` instead of `{}`", held.id, names.0));
        }
        let is_revoked = revoked.iter().any(|other| other.id == held.id);
        if is_revoked && shown["status"] != "revoked" {
            tell(format!(
                "{}: {} instead of revoked",
                held.id, shown["status"]
            ));
        }
    }
    missing
}
