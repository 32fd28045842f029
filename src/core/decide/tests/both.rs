//! Two policies that must both let a request in, against a list of takings and no code of ours.

use super::*;
use crate::keyset::{Artefact, Holding};
use crate::limit::attempts::tests::Table;
use crate::limit::bucket::{BucketKey, Buckets, Contended, Levels};
use crate::limit::quota::{Counts, Tallies, TallyKey};

mod joined;

const SECOND: u64 = 1_000_000_000;
/// 2001-09-09 is the day of [`NOW`], 01:46:40 its time.
const DAY: u64 = 86_400;

/// A plan of one limit by key or client, refilled too slowly to matter, and a quota.
#[derive(Clone, Copy, Debug)]
struct Plan {
    limit: u64,
    by_client: bool,
    quota: Option<(u64, &'static str)>,
    cost: u64,
    route: Option<u64>,
}

fn policy(plan: Plan) -> String {
    let by = if plan.by_client { "client" } else { "key" };
    let quota = plan.quota.map_or(String::new(), |(requests, per)| {
        format!(r#","quota":{{"requests":{requests},"per":"{per}"}}"#)
    });
    let route = plan.route.map_or(String::new(), |requests| {
        format!(r#","limit":{{"requests":{requests},"per":"1w"}}"#)
    });
    let Plan { limit, cost, .. } = plan;
    format!(
        r#"{{"version":1,"plans":{{"p":{{"limits":[{{"requests":1,"per":"52w","burst":{limit},"by":"{by}"}}]{quota}}}}},
            "routes":[{{"path":"/a","cost":{cost}{route}}}]}}"#
    )
}

fn artefact(version: u64, policy: &str, keys: &[Fresh]) -> Artefact {
    let rows = keys.iter().map(|key| KeyRow {
        plan: Some("p".into()),
        ..row(key)
    });
    let content = Content {
        store: StoreId([9; 8]),
        version,
        issued_at: NOW,
        policy: serde_json::from_str(policy).unwrap(),
        zones: Default::default(),
        rows: rows.collect(),
    };
    let signing = SigningKey::new("k", Zeroizing::new(vec![1; 32])).unwrap();
    let bytes = build(&content).unwrap().seal_raw(&signing, 0);
    let keys = SigningKeys::new(vec![signing]);
    Artefact::load(&mut &bytes[..], &keys, |_| {}).ok().unwrap()
}

/// The newest policy is listener 2's, and listener 1 comes later with an older file.
fn stepped_back(older: Plan, newest: Plan, keys: &[Fresh]) -> Holding {
    under_both(&policy(older), &policy(newest), keys)
}

fn under_both(older: &str, newest: &str, keys: &[Fresh]) -> Holding {
    let mut holding = Holding::default();
    holding.configure(2, artefact(11, newest, keys), 0, false);
    holding.configure(1, artefact(10, older, keys), 11, false);
    assert!(holding.decides(1).unwrap().also().is_some());
    holding
}

fn ask(
    holding: &Holding,
    stock: &mut (impl Buckets + Tallies),
    key: &Fresh,
    seconds: u64,
) -> Result<(), Denial> {
    let call = call("GET", "/a").with("x-api-key", key.text.expose_secret());
    decided(holding, stock, &call, seconds).verdict
}

fn decided<'h>(
    holding: &'h Holding,
    stock: &mut (impl Buckets + Tallies),
    call: &Call,
    seconds: u64,
) -> Decision<'h> {
    let bytes = Headers::encode(&call.pairs);
    let request = plain(&bytes);
    let clocks = Clocks {
        wall: NOW + seconds,
        monotonic: seconds.saturating_mul(SECOND).saturating_add(1 << 40),
    };
    let keyset = holding.decides(1).map(|k| &**k);
    decide(keyset, &request, clocks, || call.prior, stock, &mut ())
}

#[test]
fn the_scope_that_is_missing_is_named_whichever_policy_asks_for_it() {
    let asks = |scopes: &str| {
        format!(
            r#"{{"version":1,"plans":{{"p":{{}}}},"routes":[{{"path":"/a","scopes":[{scopes}]}}]}}"#
        )
    };
    let key = fresh(1);
    let keys = std::slice::from_ref(&key);
    for (older, newest, want) in [
        ("", "\"read\",\"write\"", "write"),
        ("\"admin\"", "", "admin"),
    ] {
        let holding = under_both(&asks(older), &asks(newest), keys);
        let call = call("GET", "/a").with("x-api-key", key.text.expose_secret());
        let decision = decided(&holding, &mut MemoryBuckets::default(), &call, 0);
        assert_eq!(decision.verdict, Err(Denial::InsufficientScope));
        let lacking: Vec<&str> = decision.lacking().unwrap().all().collect();
        assert_eq!(lacking, [want]);
    }
}

/// What a key has taken: an instant and its number.
type Takings = Vec<(u64, usize)>;

/// Whether a policy lets in one more: counted anew from the whole list. No refill counts: what
/// refills within the days of a test is less than one token, but for a route's limit.
fn allows(plan: Plan, costs: u64, takings: &Takings, (at, key): (u64, usize)) -> bool {
    let mine = |of: &usize| plan.by_client || *of == key;
    let tokens = takings.iter().filter(|(_, of)| mine(of)).count() as u64 * costs;
    let own: Vec<u64> = takings
        .iter()
        .filter(|(_, of)| *of == key)
        .map(|t| t.0)
        .collect();
    let counted = |window: u64| {
        let first = (NOW + at) / window;
        own.iter().filter(|t| (NOW + **t) / window == first).count() as u64
    };
    let of_quota = plan.quota.is_none_or(|(requests, per)| match per {
        "day" => counted(DAY) < requests,
        // No test leaves September.
        _ => (own.len() as u64) < requests,
    });
    tokens + costs <= plan.limit && of_quota
}

fn plan() -> impl Strategy<Value = Plan> {
    let quota = prop_oneof![
        Just(None),
        (1..12u64).prop_map(|n| Some((n, "day"))),
        (1..20u64).prop_map(|n| Some((n, "month"))),
    ];
    (4..40u64, any::<bool>(), quota, 1..4u64).prop_map(|(limit, by_client, quota, cost)| Plan {
        limit,
        by_client,
        quota,
        cost,
        route: None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..crate::seeded() })]

    /// A request that costs more under one policy costs as much in a bucket that both have, and
    /// in its own alone otherwise.
    #[test]
    fn what_both_policies_allow_is_let_in_and_no_more(
        older in plan(),
        newest in plan(),
        asks in proptest::collection::vec((0..3usize, 0..30_000u64), 1..60),
    ) {
        let keys = [fresh(1), fresh(2), fresh(3)];
        let holding = stepped_back(older, newest, &keys);
        let mut stock = MemoryBuckets::default();
        let mut takings = Takings::new();
        let mut now = 0;
        let is_one = older.limit == newest.limit && older.by_client == newest.by_client;
        let costs = match is_one {
            true => [older.cost.max(newest.cost); 2],
            false => [older.cost, newest.cost],
        };
        for (key, pause) in asks {
            now += pause;
            let both = allows(older, costs[0], &takings, (now, key))
                && allows(newest, costs[1], &takings, (now, key));
            let is_in = ask(&holding, &mut stock, &keys[key], now).is_ok();
            prop_assert_eq!(is_in, both, "{:?} at {} of {}", takings, now, key);
            if is_in {
                takings.push((now, key));
            }
        }
    }
}

/// A stock that fails one bucket from a moment on.
struct Failing {
    stock: MemoryBuckets,
    updates: usize,
    fails_at: usize,
}

impl Buckets for Failing {
    fn update(
        &mut self,
        key: &BucketKey,
        f: &mut dyn FnMut(&mut Levels) -> bool,
    ) -> Result<(), Contended> {
        self.updates += 1;
        match self.updates == self.fails_at {
            true => Err(Contended),
            false => self.stock.update(key, f),
        }
    }
}

impl Tallies for Failing {
    fn update_tally(
        &mut self,
        key: &TallyKey,
        f: &mut dyn FnMut(&mut Counts) -> bool,
    ) -> Result<(), Contended> {
        self.updates += 1;
        match self.updates == self.fails_at {
            true => Err(Contended),
            false => self.stock.update_tally(key, f),
        }
    }
}

/// Wherever the host fails, the request is refused and what was taken is given back.
#[test]
fn all_is_taken_or_nothing() {
    let older = Plan {
        limit: 10,
        by_client: false,
        quota: Some((9, "day")),
        cost: 1,
        route: Some(6),
    };
    let newest = Plan {
        limit: 8,
        by_client: true,
        quota: Some((7, "month")),
        cost: 1,
        route: Some(5),
    };
    let keys = [fresh(1)];
    let holding = stepped_back(older, newest, &keys);
    let mut fails_at = 0;
    let mut failed = 0;
    loop {
        fails_at += 1;
        let mut stock = Failing {
            stock: MemoryBuckets::default(),
            updates: 0,
            fails_at: 0,
        };
        assert_eq!(ask(&holding, &mut stock, &keys[0], 0), Ok(()));
        (stock.updates, stock.fails_at) = (0, fails_at);
        let verdict = ask(&holding, &mut stock, &keys[0], 0);
        if stock.updates < fails_at {
            assert_eq!(verdict, Ok(()));
            break;
        }
        assert!(verdict.is_err(), "{fails_at}");
        failed += 1;
        let more = (0..9).filter(|_| ask(&holding, &mut stock.stock, &keys[0], 0).is_ok());
        assert_eq!(more.count(), 4, "five in all, {fails_at}");
    }
    assert!(failed > 8, "{failed}");
}

#[test]
fn unknown_keys_count_by_both_policies_and_by_a_rule_of_both_once() {
    let with = |attempts: u32| {
        format!(
            r#"{{"version":1,"brute_force":{{"attempts":{attempts},"per":"52w"}},"routes":[{{"path":"/a"}}]}}"#
        )
    };
    for (older, newest, passes) in [(9, 3, 3), (3, 9, 3), (4, 4, 4)] {
        let holding = under_both(&with(older), &with(newest), &[]);
        let keyset = holding.decides(1).map(|k| &**k);
        let mut table = Table::default();
        let unknown = fresh(2).text.expose_secret().to_owned();
        let call = call("GET", "/a").with("x-api-key", &unknown);
        let mut refused_as_unknown = 0;
        for _ in 0..12 {
            let mut stock = MemoryBuckets::default();
            let mut decision = decided(&holding, &mut stock, &call, 0);
            let address = || "192.0.2.1".parse().ok();
            slow_down(keyset.ok(), &mut decision, address, SECOND, &mut table);
            refused_as_unknown += u32::from(decision.verdict == Err(Denial::UnknownKey));
        }
        assert_eq!(refused_as_unknown, passes, "{older} and {newest}");
    }
}
