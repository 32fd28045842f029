use std::collections::BTreeSet;

use keystile_core::key::Digest;

use super::*;

const NOW: u64 = 1_800_000_000;

/// What can be typed for a property, in the form in which it is shown again.
fn typed(property: &Property) -> Vec<String> {
    let words: &[&str] = match property.name {
        "scopes" => &["read", "write"],
        "limits" => &["100/1m", "5/1s:9@client"],
        "expires" => &["2030-01-31T12:00:00Z"],
        "not_before" => &["2029-01-31T12:00:00Z"],
        "cidrs" | "deny_cidrs" => &["10.0.0.0/8", "2001:db8::/32"],
        "origins" => &["https://a.example"],
        "certificates" => &["dns:a.example"],
        "labels" => &["owner=Jane Doe", "team=web"],
        "rotate_every" | "grace" => &["7d"],
        _ => &["gold"],
    };
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn key(rules: Rules) -> Key {
    let id: KeyId = "0Ab3dEfGh1".parse().unwrap();
    Key {
        id,
        digest: Digest([0; 32]),
        imported: false,
        client_number: 1,
        client: "acme".to_owned(),
        client_plan: None,
        rules,
        overlap_end: None,
        disabled: false,
        revoked: None,
        reason: String::new(),
        lineage: id,
        rotated_from: None,
        created: NOW,
    }
}

#[test]
fn what_is_typed_for_a_property_travels_is_kept_audited_and_shown_under_its_name() {
    let mut issue = Issue::default();
    for property in PROPERTIES {
        for word in typed(property) {
            assert_eq!((property.check)(&word), Ok(()));
        }
        issue.set(property.name, &typed(property)).unwrap();
    }
    let json = serde_json::to_value(&issue).unwrap();
    let mut issue: Issue = serde_json::from_value(json.clone()).unwrap();
    let rules = issue.draft(NOW).unwrap().rules("live".parse().unwrap());
    let audited: BTreeSet<&str> = rules.audited().map(|(name, _)| name).collect();
    for (property, words) in KeyView::from_key(&key(rules), NOW).words() {
        assert!(json.get(property.name).is_some(), "{}", property.name);
        assert!(audited.contains(property.name), "{}", property.name);
        assert_eq!(words, typed(property), "{}", property.name);
    }
}

#[test]
fn an_import_and_a_change_read_a_property_as_a_request_does() {
    let (mut issue, mut draft) = (Issue::default(), KeyDraft::default());
    let mut update = Update::nothing_for("0Ab3dEfGh1".parse().unwrap());
    for property in PROPERTIES {
        issue.set(property.name, &typed(property)).unwrap();
        draft.set(property.name, &typed(property), NOW).unwrap();
        update.set(property.name, &typed(property)).unwrap();
    }
    let json = serde_json::to_value(&update).unwrap();
    let update: Update = serde_json::from_value(json).unwrap();
    let rules = issue.draft(NOW).unwrap().rules("live".parse().unwrap());
    assert_eq!(draft.rules("live".parse().unwrap()), rules);
    let mut changed = KeyDraft::default().rules("live".parse().unwrap());
    update.patch(NOW).unwrap().apply(&mut changed);
    assert_eq!(changed, rules);
    // Nothing typed takes it away again, but for labels, which are removed by name.
    let mut update = Update::nothing_for("0Ab3dEfGh1".parse().unwrap());
    for property in PROPERTIES {
        update.set(property.name, &[]).unwrap();
    }
    let mut patch = update.patch(NOW).unwrap();
    patch.remove_labels = changed.labels.keys().cloned().collect();
    patch.apply(&mut changed);
    assert_eq!(changed, KeyDraft::default().rules("live".parse().unwrap()));
}

#[test]
fn an_issue_says_nothing_of_what_was_not_given() {
    let json = serde_json::to_value(Issue::default()).unwrap();
    for property in PROPERTIES {
        assert!(json.get(property.name).is_none(), "{}", property.name);
    }
    let mut update = Update::nothing_for("0Ab3dEfGh1".parse().unwrap())
        .patch(NOW)
        .unwrap();
    let mut rules = KeyDraft::default().rules("live".parse().unwrap());
    update.add_scopes = vec!["b".to_owned(), "a".to_owned(), "b".to_owned()];
    update.apply(&mut rules);
    assert_eq!(rules.scopes, ["a", "b"]);
}

#[test]
fn each_word_that_is_none_is_named_with_its_property() {
    let words = ["10.0.0.0/8", "10.1.2.3/8", "x"].map(str::to_owned);
    let e = Issue::default().set("cidrs", &words).unwrap_err();
    let fields: Vec<_> = e.faults().iter().map(|f| f.field.as_deref()).collect();
    assert_eq!(fields, [Some("cidrs"); 2]);
    assert!(Issue::default().set("colour", &words).is_err());
}
