//! Calls in any order with any bytes: whatever Envoy does, nobody passes who may not, no panic gets over
//! the border (it would end this process), and everything is given back.
//!
//! The long form: `KEYSTILE_ROUNDS=100000`, and `KEYSTILE_SEED` for another beginning.

use super::*;
use crate::abi::Attribute;

/// Entries that break by turns. Those that give something back are not among them.
const ENTRIES: [&str; 9] = [
    "request_headers",
    "request_trailers",
    "response_headers",
    "scheduled",
    "config_scheduled",
    "config_http_callout_done",
    "config_new",
    "turn",
    "close",
];
const NAMES: [&str; 14] = [
    ":method",
    ":path",
    ":authority",
    ":scheme",
    ":protocol",
    "x-api-key",
    "cookie",
    "upgrade",
    "connection",
    "content-type",
    "te",
    "x-keystile-client",
    "origin",
    "x-a",
];
const WORDS: [&str; 16] = [
    "GET",
    "CONNECT",
    "/v1/a",
    "/any/b?k=1",
    "/v1/../any/%2e%2e/a",
    "*",
    "",
    "k=; k=1; k",
    "websocket",
    "upgrade, keep-alive, x-api-key",
    "application/grpc",
    "trailers",
    "\u{fffd}\u{0}",
    "a=\"k=1\"; k=2",
    "http://h/v1/a",
    "ks_live_nonsense",
];

#[expect(
    clippy::disallowed_methods,
    reason = "how long it runs is not for the module"
)]
fn number(name: &str, or: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(or, |text| text.parse().unwrap())
}

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// A request, the number of its configuration, and whether it may pass.
struct Asked {
    request: Request,
    of: usize,
    may_pass: bool,
    is_done: bool,
}

struct World {
    chance: Chance,
    store: Store,
    key: String,
    configurations: Vec<Option<Made>>,
    asked: Vec<Asked>,
    made: usize,
    passed: usize,
    refused: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut store = Store::new(POLICY);
        let key = store.issue("many", &["read"]);
        let first = store.made();
        Self {
            chance: Chance(seed),
            store,
            key,
            configurations: vec![Some(first)],
            asked: Vec::new(),
            made: 0,
            passed: 0,
            refused: 0,
        }
    }

    fn step(&mut self) {
        if self.chance.one_in(40) {
            fake::breaks(self.chance.of(&ENTRIES));
        }
        match self.chance.below(16) {
            0 => self.configure(),
            1 => self.give_up_configuration(),
            2..=5 => self.ask(),
            6 => self.give_up_request(),
            7 => self.odd_configuration(),
            _ => self.about_a_request(),
        }
    }

    fn configure(&mut self) {
        let mut bytes = self.store.sealed().into_bytes();
        match self.chance.below(4) {
            0 => bytes = self.chance.bytes(300),
            1 => bytes.truncate(self.chance.below(bytes.len())),
            2 => {
                let at = self.chance.below(bytes.len());
                bytes[at] = self.chance.next() as u8;
            }
            _ => {}
        }
        let name = self.chance.of(&["keystile", "second", "", "\u{e9}"]);
        let (made, _) = fake::configure(name, &bytes);
        self.configurations.extend(made.map(Some));
    }

    fn give_up_configuration(&mut self) {
        let n = self.chance.below(self.configurations.len());
        // Envoy keeps it for as long as there are filters of it.
        if self.asked.iter().all(|asked| asked.of != n) {
            self.configurations[n] = None;
        }
    }

    fn ask(&mut self) {
        let of = self.chance.below(self.configurations.len());
        let Some(configuration) = &self.configurations[of] else {
            return;
        };
        let mut may_pass = false;
        let mut headers = Vec::new();
        if !self.chance.one_in(8) {
            headers.extend(get(self.chance.of(&WORDS), &[]));
        }
        for _ in 0..self.chance.below(60) {
            headers.push((self.chance.of(&NAMES), self.chance.of(&WORDS)));
        }
        if self.chance.one_in(6) {
            headers.push((":path", "/healthz"));
            may_pass = true;
        }
        let cookie = format!("k={}", self.key);
        if self.chance.one_in(3) {
            headers.push(("x-api-key", &self.key));
            may_pass = true;
        }
        if self.chance.one_in(5) {
            headers.push(("cookie", &cookie));
            may_pass = true;
        }
        let mut request = configuration.request(&headers);
        self.made += 1;
        for _ in 0..self.chance.below(3) {
            request = request.bytes(self.chance.of(&NAMES), &self.chance.bytes(40));
        }
        if self.chance.one_in(4) {
            request = request.with(Attribute::SourceAddress, self.chance.of(&WORDS));
        }
        if self.chance.one_in(6) {
            request = request.stubborn();
        }
        let is_eager = self.chance.one_in(6);
        if is_eager {
            request = request.eager();
        }
        self.asked.push(Asked {
            request,
            of,
            may_pass,
            is_done: false,
        });
    }

    fn give_up_request(&mut self) {
        if !self.asked.is_empty() {
            let n = self.chance.below(self.asked.len());
            self.asked.swap_remove(n);
        }
    }

    fn odd_configuration(&mut self) {
        let n = self.chance.below(self.configurations.len());
        let call = self.chance.next() >> self.chance.below(64);
        let body = self.chance.bytes(100);
        assert!(!fake::configure_route(&body));
        let Some(made) = &self.configurations[n] else {
            return;
        };
        match self.chance.below(4) {
            0 => made.tick(),
            1 => made.called_back(call),
            2 => made.fails(call, self.chance.next() as u32),
            _ => made.answer(call, &[(":status", "200"), ("", "x")], &body),
        }
    }

    fn about_a_request(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let n = self.chance.below(self.asked.len());
        let asked = &mut self.asked[n];
        // One that is destroyed is called about no more.
        if asked.is_done || asked.request.is_destroyed() {
            asked.is_done = true;
            return;
        }
        match self.chance.below(8) {
            0..=2 => {
                let passes = asked.request.headers();
                self.passed += usize::from(passes);
                self.refused += usize::from(!passes);
                assert!(
                    asked.may_pass || !passes,
                    "{:?}",
                    asked.request.shown(Map::Request)
                );
            }
            3 => {
                let word = self.chance.of(&WORDS);
                let name = self.chance.of(&NAMES);
                asked
                    .request
                    .trailers(&[(name, word), ("x-api-key", &self.key)]);
            }
            4 => asked.request.response(),
            5 => asked.request.called_back(self.chance.next()),
            6 => assert!(asked.request.bodies(self.chance.one_in(2))),
            _ => {
                asked.request.turn();
                let is_eager = asked.request.is_eager();
                assert!(is_eager || !asked.request.goes_astray());
            }
        }
    }
}

#[test]
fn calls_in_any_order_with_any_bytes_let_nobody_in_and_leave_nothing_behind() {
    let rounds = number("KEYSTILE_ROUNDS", 150);
    let seed = number("KEYSTILE_SEED", 1);
    fake::install(&SIGNER.expose_secret());
    let (mut passed, mut refused) = (0, 0);
    for round in 0..rounds {
        let (freed, _) = fake::count_freed();
        let schedulers = fake::count_schedulers();
        let mut world = World::new(seed.wrapping_mul(1 << 32).wrapping_add(round));
        for _ in 0..80 {
            world.step();
        }
        fake::breaks("");
        let made = world.made;
        passed += world.passed;
        refused += world.refused;
        world.asked.clear();
        drop(world);
        let (all, early) = fake::count_freed();
        assert_eq!((all - freed, early), (made, 0), "round {round}");
        assert_eq!(fake::count_schedulers(), schedulers, "round {round}");
    }
    println!("{passed} passed, {refused} refused");
    assert!(passed > 0 && refused > 0);
}
