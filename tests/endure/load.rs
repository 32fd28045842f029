//! A steady mix of requests: at a rate of its own, whether answers come or not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keystile_tests::proxy::{Client, Request, Response, get};

use crate::judge::{Answered, Asked, Breach, Weather, judge};
use crate::ledger::{Held, Ledger};
use crate::limits::Through;
use crate::minutes::Minute;
use crate::record::Recorder;
use crate::seed::Dice;

/// Connections to each Envoy: enough for both of its workers, whichever takes which.
const CONNECTIONS: u32 = 8;
/// A connection that is further behind than this gives up what it should have sent.
const BEHIND: Duration = Duration::from_secs(1);

/// What was sent to an Envoy, by one connection or all.
#[derive(Default)]
pub struct Tally {
    pub minutes: Vec<Minute>,
    /// Requests by outcome: `ok`, or the code of the refusal.
    pub outcomes: BTreeMap<String, u64>,
    pub unanswered: u64,
    /// Requests that could not be sent in time.
    pub skipped: u64,
    /// What the key with a limit let through, and how much of the time that the Envoy was there.
    pub through: Vec<Through>,
}

impl Tally {
    pub fn merge(&mut self, other: Self) {
        let most = self.minutes.len().max(other.minutes.len());
        self.minutes.resize(most, Minute::default());
        for (all, more) in self.minutes.iter_mut().zip(&other.minutes) {
            all.merge(more);
        }
        for (outcome, n) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += n;
        }
        self.unanswered += other.unanswered;
        self.skipped += other.skipped;
        self.through.extend(other.through);
    }

    /// How many requests were answered.
    pub fn answered(&self) -> u64 {
        self.outcomes.values().sum()
    }
}

/// The connections to an Envoy.
pub struct Load {
    threads: Vec<JoinHandle<Tally>>,
    stop: Arc<AtomicBool>,
}

/// What all connections share.
#[derive(Clone)]
pub struct Ground {
    pub ledger: Arc<Ledger>,
    pub recorder: Arc<Recorder>,
    pub weather: Weather,
}

impl Load {
    /// So many requests a second.
    pub fn start(ground: &Ground, address: SocketAddr, a_second: f64, dice: &mut Dice) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let pace = Duration::from_secs_f64(f64::from(CONNECTIONS) / a_second);
        let thread = |n: u32| {
            let connection = Connection {
                ground: ground.clone(),
                address,
                client: None,
                stop: Arc::clone(&stop),
                pace,
                due: Instant::now() + pace * n / CONNECTIONS,
                dice: dice.another(),
                recent: Vec::new(),
                tally: Tally::default(),
            };
            thread::spawn(move || connection.run())
        };
        Self {
            threads: (0..CONNECTIONS).map(thread).collect(),
            stop,
        }
    }

    /// What became of all that was sent.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for thread in self.threads {
            all.merge(thread.join().unwrap());
        }
        all
    }
}

struct Connection {
    ground: Ground,
    address: SocketAddr,
    client: Option<Client>,
    stop: Arc<AtomicBool>,
    pace: Duration,
    due: Instant,
    dice: Dice,
    recent: Vec<Arc<Held>>,
    tally: Tally,
}

impl Connection {
    fn run(mut self) -> Tally {
        let ledger = Arc::clone(&self.ground.ledger);
        for n in 0_u32.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let now = Instant::now();
            if now < self.due {
                thread::sleep(self.due - now);
            } else if now - self.due > BEHIND {
                let missed = (now - self.due).as_secs_f64() / self.pace.as_secs_f64();
                self.tally.skipped += missed as u64;
                self.due = now;
            }
            if n % 64 == 0 {
                self.recent = ledger.recent();
            }
            self.ask(&ledger);
            self.due += self.pace;
        }
        self.tally
    }

    fn ask(&mut self, ledger: &Ledger) {
        let recent = std::mem::take(&mut self.recent);
        let (asked, request) = mix(&mut self.dice, ledger, &recent);
        let sent = Instant::now();
        match self.send(&request) {
            Ok(response) => self.answered(&asked, sent, &response),
            Err(error) => {
                self.client = None;
                self.tally.unanswered += 1;
                if self.ground.weather == Weather::Fair {
                    let words = format!("{}: {error}", self.address);
                    self.ground.recorder.breach(Breach::Unanswered, words);
                } else {
                    // As a client does that was turned away.
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
        self.recent = recent;
    }

    fn send(&mut self, request: &Request) -> std::io::Result<Response> {
        let client = match &mut self.client {
            Some(client) => client,
            None => {
                let patience = match self.ground.weather {
                    Weather::Fair => Duration::from_secs(30),
                    Weather::Foul => Duration::from_secs(2),
                };
                let fresh = Client::within(self.address, patience)?;
                self.client.insert(fresh)
            }
        };
        client.try_send(request)
    }

    fn answered(&mut self, asked: &Asked, sent: Instant, response: &Response) {
        let done = Instant::now();
        let caller = match response.status {
            200 => response.text(),
            _ => String::new(),
        };
        let answer = Answered {
            sent,
            done,
            status: response.status,
            caller: &caller,
        };
        let outcome = outcome(response);
        if response.status == 503 {
            self.ground.recorder.unavailable(self.address);
        }
        if let Some(breach) = judge(asked, &answer, self.ground.weather) {
            let id = held(asked).map_or("no key", |held| &held.id);
            let words = format!("{}: {id}: {} {outcome}", self.address, answer.status);
            self.ground.recorder.breach(breach, words);
        }
        if let Some(held) = held(asked).filter(|_| names_the_key(&outcome)) {
            held.answered.fetch_add(1, Ordering::Relaxed);
        }
        if matches!(asked, Asked::Limited(_)) && response.status == 200 {
            self.tally.through.push(Through { sent, done });
        }
        let minute = (done - self.ground.recorder.began).as_secs() as usize / 60;
        if self.tally.minutes.len() <= minute {
            self.tally.minutes.resize(minute + 1, Minute::default());
        }
        // From when it should have been sent: a slow answer delays those behind it.
        self.tally.minutes[minute].add(done - self.due.min(sent));
        *self.tally.outcomes.entry(outcome).or_default() += 1;
    }
}

/// What a filter says of it: `ok`, or the code of the refusal.
fn outcome(response: &Response) -> String {
    match response.status {
        200 => "ok".to_owned(),
        status => response.code().unwrap_or_else(|| format!("{status}")),
    }
}

/// Whether a filter that answers this knows whose the key is.
fn names_the_key(outcome: &str) -> bool {
    let known = ["ok", "rate_limited", "insufficient_scope"];
    let ended = ["revoked_api_key", "expired_api_key"];
    known.contains(&outcome) || ended.contains(&outcome)
}

fn held<'h>(asked: &Asked<'h>) -> Option<&'h Held> {
    match asked {
        Asked::With(held) | Asked::WithoutScope(held) | Asked::Limited(held) => Some(held),
        Asked::Nobody | Asked::Open => None,
    }
}

/// One request of the mix. Paths differ from request to request, as identifiers in them do.
fn mix<'h>(dice: &mut Dice, ledger: &'h Ledger, recent: &'h [Arc<Held>]) -> (Asked<'h>, Request) {
    let path = format!("/v1/users/{}", dice.below(1_000));
    let steady: &Held = dice.pick::<Arc<Held>>(&ledger.steady);
    match dice.below(100) {
        0..3 => (Asked::Nobody, get(path)),
        3..5 => (Asked::Nobody, get(path).bearer(&mistyped(&steady.key))),
        5..8 => (Asked::Nobody, get(path).bearer(&ledger.stranger)),
        8..11 => {
            let request = get("/admin/users").header("x-api-key", &steady.key);
            (Asked::WithoutScope(steady), request)
        }
        11..13 => (Asked::Open, get("/healthz")),
        13..18 => {
            let limited: &Held = &ledger.limited;
            (Asked::Limited(limited), get(path).bearer(&limited.key))
        }
        18..40 if !recent.is_empty() => {
            let held: &Held = dice.pick::<Arc<Held>>(recent);
            (Asked::With(held), get(path).bearer(&held.key))
        }
        _ => (
            Asked::With(steady),
            get(path).header("x-api-key", &steady.key),
        ),
    }
}

/// A key with another last character.
fn mistyped(key: &str) -> String {
    let (start, last) = key.split_at(key.len() - 1);
    format!("{start}{}", if last == "0" { "1" } else { "0" })
}
