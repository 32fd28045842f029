//! Which tables are measured.

use super::cases::Case;
use super::load::Http;
use super::{Settings, Upstream};

/// Keys that take turns, where nothing else is said.
pub const TURNS: usize = 1000;

/// What large tables and varied ones hold.
const SOME: [Case; 13] = [
    Case::Floor,
    Case::Empty,
    Case::EmptyTrimmed,
    Case::Identity,
    Case::OneLimit,
    Case::Unknown,
    Case::Native,
    Case::NativeLimit,
    Case::Lua,
    Case::Authz,
    Case::Nginx,
    Case::Haproxy,
    Case::FloorAgain,
];

/// What shows that a variation works.
const FEW: [Case; 3] = [Case::Floor, Case::OneLimit, Case::FloorAgain];

/// One table to be.
#[derive(Clone)]
pub struct Plan {
    pub keys: usize,
    pub workers: usize,
    pub http: Http,
    pub unknown_percent: u64,
    /// Keys that take turns.
    pub turns: usize,
    /// Requests go to an upstream; otherwise the proxy answers.
    pub has_upstream: bool,
    pub cases: Vec<Case>,
}

impl Plan {
    pub fn title(&self) -> String {
        let keys = counted(self.keys);
        format!(
            "{keys} keys, {} in turn, {} worker{}, HTTP/{}, {} % unknown, {}",
            counted(self.turns),
            self.workers,
            if self.workers == 1 { "" } else { "s" },
            if self.http == Http::One { "1.1" } else { "2" },
            self.unknown_percent,
            match self.has_upstream {
                true => "real upstream",
                false => "direct",
            }
        )
    }
}

/// `100 k`
pub fn counted(n: usize) -> String {
    match n {
        n if n >= 1_000_000 && n.is_multiple_of(100_000) => format!("{} M", n as f64 / 1e6),
        n if n >= 1000 && n.is_multiple_of(1000) => format!("{} k", n / 1000),
        n => n.to_string(),
    }
}

/// The tables to be measured.
pub fn plans(settings: &Settings) -> Vec<Plan> {
    let default = match settings.short {
        true => vec![1000],
        false => vec![10, 100_000, 1_000_000],
    };
    let sizes = settings.keys.clone().unwrap_or(default);
    let mut all = Vec::new();
    for &keys in &sizes {
        let is_largest = sizes.iter().all(|other| *other <= keys);
        all.extend(turns(settings, keys, is_largest).map(|turns| plain(settings, keys, turns)));
    }
    // The middle size shows what else there is.
    if let Some(&middle) = sizes.get(sizes.len() / 2) {
        let varied = varied(settings, middle);
        all.extend(varied);
    }
    for plan in &mut all {
        if let Some(cases) = &settings.cases {
            // Whatever the table would have held: who names them wants them.
            plan.cases = Case::ALL.to_vec();
            let floors = [Case::Floor, Case::FloorAgain];
            plan.cases
                .retain(|c| cases.contains(c) || floors.contains(c));
        }
    }
    if let Some(only) = &settings.only {
        all.retain(|p| p.title().contains(only.as_str()));
    }
    all
}

/// Numbers of keys that take turns, of a store of this size. The largest is measured with few
/// and with all of them.
fn turns(settings: &Settings, keys: usize, is_largest: bool) -> impl Iterator<Item = usize> {
    let asked = settings.turns.clone();
    let asked = asked.unwrap_or_else(|| match is_largest && !settings.short {
        true => vec![10, TURNS, 100_000, 1_000_000],
        false => vec![TURNS],
    });
    let mut turns: Vec<usize> = asked.iter().map(|n| keys.min(*n)).collect();
    turns.sort_unstable();
    turns.dedup();
    turns.into_iter()
}

/// One worker, HTTP/1.1, only known keys.
fn plain(settings: &Settings, keys: usize, turns: usize) -> Plan {
    Plan {
        keys,
        workers: 1,
        http: Http::One,
        unknown_percent: 0,
        turns,
        has_upstream: settings.upstream.contains(&Upstream::Real),
        cases: match keys < 1_000_000 {
            true => Case::ALL.to_vec(),
            false => SOME.to_vec(),
        },
    }
}

/// What else there is, with this many keys.
fn varied(settings: &Settings, keys: usize) -> Vec<Plan> {
    let plain = plain(settings, keys, keys.min(TURNS));
    let varied = Plan {
        cases: match settings.short {
            true => FEW.to_vec(),
            false => SOME.to_vec(),
        },
        ..plain.clone()
    };
    let mut all = Vec::new();
    if settings.upstream == [Upstream::Real, Upstream::Direct] {
        all.push(Plan {
            has_upstream: false,
            ..plain
        });
    }
    all.extend([10, 100].map(|unknown_percent| Plan {
        unknown_percent,
        ..varied.clone()
    }));
    all.push(Plan {
        workers: 2,
        ..varied.clone()
    });
    let mut two = Plan {
        http: Http::Two,
        ..varied
    };
    two.cases.retain(|c| !c.is_other_proxy());
    all.push(two);
    all
}
