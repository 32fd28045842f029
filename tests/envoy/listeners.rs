//! Two listeners of one store: keys and revocations are the store's, the policy is each listener's own.

use crate::fixture::{Keys, in_force};
use crate::support::{Client, Envoy, Push, Response, Setup, Upstream, echoed, eventually, get};

const STRICT: &str = "{version: 1, routes: [{path: /v1/a}]}";
const TRIALS: [&str; 2] = [
    "{version: 1, routes: [{path: /v1/a, auth: none}]}",
    "{version: 1, mode: shadow, routes: [{path: /v1/a}]}",
];

#[test]
fn a_policy_that_is_tried_on_one_listener_opens_no_other_and_a_revocation_counts_on_both() {
    for trial in TRIALS {
        let upstream = Upstream::start();
        let mut keys = Keys::new(STRICT);
        let key = keys.issue("acme");
        let setup = Setup::ecds(&upstream).with_trial();
        setup.ecds_file().configure(&keys.sealed());
        keys.set_policy(trial);
        let later = keys.issue("beta");
        let file = setup.trial_file();
        file.configure(&keys.sealed());
        let envoy = Envoy::start(setup.signing_keys(&keys.signing_keys()));
        in_force(&envoy, keys.content.version);
        let status = |listener: &str, key: Option<&str>| {
            let request = key.map_or(get("/v1/a"), |key| get("/v1/a").bearer(key));
            let mut client = crate::support::Client::connect(envoy.listener(listener));
            client.send(&request).status
        };
        // Until then each listener has the keys that came with its policy, and the newest after it.
        // Often enough for both workers.
        eventually("the strict listener to have the newest keys", || {
            let knows = (0..20).all(|_| status("public", Some(&later)) == 200);
            knows.then_some(())
        });
        for _ in 0..20 {
            assert_eq!(status("public", None), 401);
            assert_eq!(status("public", Some(&key)), 200);
            assert_eq!(status("trial", None), 200);
        }
        keys.revoke(&key);
        file.configure(&keys.sealed());
        in_force(&envoy, keys.content.version);
        eventually("the workers to have it", || {
            (0..20)
                .all(|_| status("public", Some(&key)) == 401)
                .then_some(())
        });
        assert_eq!(status("public", None), 401);
        assert_eq!(status("trial", None), 200);
    }
}

const WIDE: &str = "
version: 1
realm: wide
publishable: {scopes: [read, write]}
plans: {p: {limits: [{requests: 1000, per: 1d}]}}
routes: [{path: /v1/a}, {path: /v1/b}]
";
const NARROW: &str = "
version: 1
realm: narrow
publishable: {scopes: [read]}
plans: {p: {limits: [{requests: 5, per: 1d}], quota: {requests: 4, per: month}}}
routes: [{path: /v1/a}, {path: /v1/b, limit: {requests: 2, per: 1d}}]
";

/// Whichever of two policies is wide and whichever narrow: the older file is pushed over the newer.
#[test]
fn an_older_file_that_is_pushed_again_widens_no_limit_no_quota_and_no_scopes() {
    for [older, newest] in [[WIDE, NARROW], [NARROW, WIDE]] {
        let upstream = Upstream::start();
        let mut old = Keys::new(older);
        let all = ["a", "b", "c"].map(|client| old.issue_on(client, "p"));
        let browser = old.issue_with("web", |row| {
            row.publishable = true;
            row.origins = vec!["https://a.example".to_owned()];
            row.scopes = vec!["read".to_owned(), "write".to_owned()];
        });
        let mut new = old.with_policy(newest);
        new.content.version += 1;
        let envoy = new.start(&upstream);
        let ask = |path: &str, key: &str| -> Response {
            let request = get(path).bearer(key).header("origin", "https://a.example");
            envoy.send(&request)
        };
        let admitted = |path: &str, key: &str| {
            let statuses = (0..12).map(|_| ask(path, key).status);
            statuses.filter(|status| *status == 200).count()
        };
        let is_narrow = newest == NARROW;
        let [used, fresh, other] = &all;
        assert_eq!(admitted("/v1/a", used), if is_narrow { 4 } else { 12 });
        let again = old.sealed();
        assert_eq!(envoy.push(|file| file.configure(&again)), Push::Applied);
        let realm = if is_narrow { "wide" } else { "narrow" };
        // Often enough for both workers.
        eventually("both workers to have the older policy", || {
            let answers = (0..20).all(|_| {
                let answer = envoy.send(&get("/v1/a"));
                let challenge = answer.header("www-authenticate").unwrap_or_default();
                challenge.contains(realm)
            });
            answers.then_some(())
        });
        // A rule that comes into force begins with no more than the former one had left, and than
        // it holds itself: what was taken before it came is not its own.
        let more = if is_narrow { 0 } else { 4 };
        assert_eq!(admitted("/v1/a", used), more, "{newest}");
        assert_eq!(admitted("/v1/a", fresh), 4);
        assert_eq!(admitted("/v1/b", other), 2);
        let answer = ask("/v1/a", &browser);
        assert_eq!(answer.status, 200);
        let seen = echoed(&answer.json());
        let scopes = seen.headers.iter().find(|(n, _)| n == "x-keystile-scopes");
        assert_eq!(scopes.map(|(_, scopes)| scopes.as_str()), Some("read"));
    }
}

const OPEN: &str =
    "{version: 1, routes: [{path: /v1/a, auth: none}, {path: '/open/{*rest}', auth: none}]}";
const CLOSED: &str = "{version: 1, routes: [{path: /v1/a}, {path: '/open/{*rest}', auth: none}]}";

/// Envoy keeps what it has replaced for as long as a stream of it is open, and serves by it again when the same file is
/// pushed again. Anybody can keep a stream open.
#[test]
fn an_older_file_that_is_pushed_again_opens_nothing_though_streams_of_its_first_push_are_open() {
    let upstream = Upstream::start();
    let mut old = Keys::new(OPEN);
    let key = old.issue("acme");
    let mut new = old.with_policy(CLOSED);
    new.content.version += 1;
    // The very same bytes: Envoy takes them for the same plugin.
    let first = old.sealed();
    let setup = Setup::ecds(&upstream);
    setup.ecds_file().configure(&first);
    let envoy = Envoy::start(setup.signing_keys(&old.signing_keys()));
    let active = || -> u64 {
        envoy
            .stats("^http.public.downstream_rq_active$")
            .values()
            .sum()
    };
    let statuses = |key: Option<&str>| {
        let request = key.map_or(get("/v1/a"), |key| get("/v1/a").bearer(key));
        // Often enough for both workers.
        let all = (0..20).map(|_| envoy.send(&request).status);
        all.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(statuses(None), [200].into());
    let body = b"POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc";
    let held: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = Client::connect(envoy.address());
            client.write(body).expect("it is sent");
            client
        })
        .collect();
    eventually("the streams to be open", || (active() >= 8).then_some(()));
    new.push(&envoy);
    eventually("both workers to have the newer policy", || {
        (statuses(None) == [401].into()).then_some(())
    });
    for _ in 0..2 {
        assert_eq!(envoy.push(|file| file.configure(&first)), Push::Applied);
        assert_eq!(statuses(None), [401].into());
        assert_eq!(statuses(Some(&key)), [200].into());
        new.push(&envoy);
    }
    drop(held);
    eventually("the streams to end", || (active() == 0).then_some(()));
    assert_eq!(envoy.push(|file| file.configure(&first)), Push::Applied);
    assert_eq!(statuses(None), [401].into());
}
