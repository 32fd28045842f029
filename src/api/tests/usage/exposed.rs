//! Keys that Envoys saw in the clear: recorded once a day, and ended if the policy says so.

use super::*;
use keystile_model::record::Status;
use keystile_policy::file as policy_file;
use keystile_system as system;

/// The default policy with these lines in it.
fn policy(b: &mut Bench, more: &str) {
    let text = format!("{}\n{more}\n", policy_file::DEFAULT);
    let file = policy_file::parse("policy.yaml", text).unwrap();
    keystile_registry::policy::apply(&mut b.store, &system::at(NOON), &file).unwrap();
}

const DISABLE: &str = "require_tls: true\nexposed_keys: disable";

/// A batch in which every key came over plain HTTP, and whether it is the first today to say so.
fn seen(b: &mut Bench, seq: u64, at: u64, ids: &[String]) -> bool {
    let rows = (0..ids.len()).map(|key| row(Some(key as u32), Some(0), 3, 2));
    let mut told = batch(0, seq, at, ids, rows.collect());
    told.outcomes.push("tls_required".to_owned());
    counted(b, &[told], at + 60)[0].exposes
}

fn tell(b: &mut Bench, now: u64) {
    let untold = anomaly::tell(&mut b.store, &system::at(now)).unwrap();
    b.store
        .with_made_usage(|_, usage| usage.write(|tx| tx.set_told(&untold)))
        .unwrap();
}

fn status(b: &mut Bench, id: &str) -> Status {
    let id = id.parse().unwrap();
    let key = b.store.read(|tx| tx.key(id)).unwrap().unwrap();
    key.status(NOON + DAY)
}

/// Action and what it says, of the records about a key, oldest first.
fn records(b: &mut Bench, id: &str) -> Vec<(String, Value)> {
    let last = |tx: &keystile_store::Tx<'_>| tx.last_audit(&Query::default(), 200);
    let mut all = b.store.read(last).unwrap();
    all.sort_by_key(|r| r.seq);
    let of_key = all
        .into_iter()
        .filter(|r| r.subject == id && r.action != "key.issue");
    of_key
        .map(|r| (r.action, serde_json::from_str(&r.after).unwrap_or_default()))
        .collect()
}

fn actions(b: &mut Bench, id: &str) -> Vec<String> {
    records(b, id)
        .into_iter()
        .map(|(action, _)| action)
        .collect()
}

#[test]
fn a_key_that_an_envoy_saw_in_the_clear_is_recorded_once_a_day_and_goes_on_working() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 2);
    policy(&mut b, "require_tls: true");
    assert!(seen(&mut b, 1, NOON, &ids[..1]));
    assert!(!seen(&mut b, 2, NOON, &ids[..1]), "the same day");
    tell(&mut b, NOON + 61);
    tell(&mut b, NOON + 62);
    let found = records(&mut b, &ids[0]);
    assert_eq!(found.len(), 1, "{found:?}");
    let (action, after) = &found[0];
    assert_eq!(action, "key.exposed");
    assert_eq!(
        (&after["node"], &after["client"]),
        (&"edge-0".into(), &"acme".into())
    );
    assert_eq!(status(&mut b, &ids[0]), Status::Active);
    assert!(records(&mut b, &ids[1]).is_empty());
    let show = |b: &mut Bench, id: &str| {
        let id = Id::read(id).unwrap();
        let shown = crate::key::Show { id }.run(&mut b.store, &system::at(NOON + 99));
        shown.unwrap().exposed.map(|t| t.0)
    };
    assert_eq!(show(&mut b, &ids[0]), Some(NOON + 60));
    assert_eq!(show(&mut b, &ids[1]), None);
    assert!(seen(&mut b, 3, NOON + DAY, &ids[..1]), "the next day");
    tell(&mut b, NOON + DAY + 61);
    assert_eq!(actions(&mut b, &ids[0]), ["key.exposed", "key.exposed"]);
    assert_eq!(b.verify(), Ok(()));
}

#[test]
fn the_policy_disables_or_revokes_it_once_and_an_owner_who_enables_it_is_not_overruled() {
    for (says, ends, action) in [
        ("disable", Status::Disabled, "key.disable"),
        ("revoke", Status::Revoked, "key.revoke"),
    ] {
        let mut b = Bench::new();
        let ids = ids(&mut b, 1);
        policy(&mut b, &format!("require_tls: true\nexposed_keys: {says}"));
        seen(&mut b, 1, NOON, &ids);
        tell(&mut b, NOON + 61);
        assert_eq!(status(&mut b, &ids[0]), ends);
        assert_eq!(actions(&mut b, &ids[0]), ["key.exposed", action]);
        if ends == Status::Disabled {
            let id = ids[0].parse().unwrap();
            key::set_disabled(&mut b.store, &system::at(NOON + 70), id, false).unwrap();
        }
        seen(&mut b, 2, NOON, &ids);
        tell(&mut b, NOON + 80);
        let enabled = ends == Status::Disabled;
        assert_eq!(actions(&mut b, &ids[0]).len(), 2 + usize::from(enabled));
        assert_eq!(status(&mut b, &ids[0]) == Status::Active, enabled);
    }
}

#[test]
fn in_shadow_mode_nothing_is_done_and_an_unknown_key_is_nobodys() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 1);
    let shadow = policy_file::DEFAULT.replace("mode: enforce", "mode: shadow");
    let text = format!("{shadow}\n{DISABLE}\n");
    let file = policy_file::parse("policy.yaml", text).unwrap();
    keystile_registry::policy::apply(&mut b.store, &system::at(NOON), &file).unwrap();
    seen(&mut b, 1, NOON, &ids);
    tell(&mut b, NOON + 61);
    assert_eq!(actions(&mut b, &ids[0]), ["key.exposed"]);
    assert_eq!(status(&mut b, &ids[0]), Status::Active);
    let stranger = "0000000001".to_owned();
    assert!(!seen(&mut b, 2, NOON, std::slice::from_ref(&stranger)));
    tell(&mut b, NOON + 62);
    assert!(actions(&mut b, &stranger).is_empty());
}

#[test]
fn whoever_forges_reports_or_forgets_tls_ends_a_few_keys_a_day_and_not_all() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 30);
    policy(&mut b, DISABLE);
    seen(&mut b, 1, NOON, &ids[..15]);
    tell(&mut b, NOON + 61);
    seen(&mut b, 2, NOON, &ids[10..]);
    tell(&mut b, NOON + 62);
    let disabled = |b: &mut Bench| {
        let all = ids.iter();
        all.filter(|id| status(b, id) == Status::Disabled).count()
    };
    assert_eq!(disabled(&mut b), 20);
    let told = ids.iter().flat_map(|id| records(&mut b, id));
    let told: Vec<_> = told.filter(|(action, _)| action == "key.exposed").collect();
    assert_eq!(told.len(), 30, "every one of them is reported");
    let only = told
        .iter()
        .filter(|(_, after)| after.get("only_reported").is_some());
    assert_eq!(only.count(), 10);
    seen(&mut b, 3, NOON + DAY, &ids);
    tell(&mut b, NOON + DAY + 61);
    assert_eq!(disabled(&mut b), 30, "a new day");
}

#[test]
fn what_anybody_may_read_and_what_no_longer_works_is_neither_told_nor_ended() {
    let mut b = Bench::new();
    let publishable = "publishable: { scopes: [read] }";
    policy(&mut b, &format!("{publishable}\n{DISABLE}"));
    let issue = |b: &mut Bench, change: &dyn Fn(&mut key::KeyDraft)| {
        let mut draft = key::KeyDraft::default();
        change(&mut draft);
        let issued = key::issue(&mut b.store, &system::at(NOON), "acme", draft, 1, |_| {});
        let issued = issued.ok().unwrap().0;
        issued[0].key.id.to_string()
    };
    let ids = [
        issue(&mut b, &|draft| {
            draft.publishable = true;
            draft.origins = vec!["https://example.com".to_owned()];
        }),
        issue(&mut b, &|draft| draft.expires = Some(NOON + 30)),
        issue(&mut b, &|_| {}),
    ];
    assert!(seen(&mut b, 1, NOON, &ids));
    tell(&mut b, NOON + 61);
    for (id, want) in ids
        .iter()
        .zip([&[][..], &[], &["key.exposed", "key.disable"]])
    {
        assert_eq!(actions(&mut b, id), want);
    }
    let found = records(&mut b, &ids[2]);
    assert_eq!(found[0].1["ended"], true);
}

#[test]
fn keys_that_are_only_reported_use_up_nothing_of_the_day() {
    let mut b = Bench::new();
    let ids = ids(&mut b, 30);
    policy(&mut b, "require_tls: true");
    seen(&mut b, 1, NOON, &ids[..25]);
    tell(&mut b, NOON + 61);
    policy(&mut b, DISABLE);
    seen(&mut b, 2, NOON, &ids[25..]);
    tell(&mut b, NOON + 62);
    for (at, id) in ids.iter().enumerate() {
        let ended = status(&mut b, id) == Status::Disabled;
        assert_eq!(ended, at >= 25, "{at}");
    }
}
