use std::collections::BTreeMap;

use super::*;
use keystile_model::error::Surface;
use keystile_model::record::Status;
use keystile_model::wire;

fn same<O: Operation>(operation: &O, path: &[(&str, &str)]) {
    let parts = take_apart(operation).unwrap();
    let path: BTreeMap<String, String> = path
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    let query = parts.target.split_once('?').map_or("", |(_, q)| q);
    let body = parts.body.map(|b| b.to_string()).unwrap_or_default();
    let again: O = put_together(&path, query, body.as_bytes()).unwrap();
    assert_eq!(
        serde_json::to_value(operation).unwrap(),
        serde_json::to_value(&again).unwrap()
    );
}

#[test]
fn an_operation_arrives_as_it_was_sent() {
    same(
        &key::List {
            client: Some("a&b=c d/ü".to_owned()),
            status: vec![Status::Active.into(), Status::Rotating.into()],
            expiring: Some(wire::TimeWords::read("30d").unwrap()),
            label: vec!["team=a b".to_owned(), "x=".to_owned()],
            limit: Some(7),
            ..key::List::default()
        },
        &[],
    );
    same(
        &client::Delete {
            name: "acme".to_owned(),
            sure: true,
        },
        &[("name", "acme")],
    );
    let mut update = key::Update::nothing_for("0Ab3dEfGh1".parse().unwrap());
    update.plan = Some(None);
    update.expires = Some(Some(wire::TimeWords::read("90d").unwrap()));
    update.limits = Some(vec![wire::LimitWords::read("100/1m:20@client").unwrap()]);
    same(&update, &[("id", "0Ab3dEfGh1")]);
}

#[test]
fn what_stands_in_the_path_is_encoded() {
    let parts = take_apart(&client::Show::with_keys("a/b?c")).unwrap();
    assert_eq!(parts.target, "/v1/clients/a%2Fb%3Fc");
}

#[test]
fn a_field_that_does_not_exist_is_refused_by_its_name() {
    let refused = put_together::<client::Create>(
        &BTreeMap::new(),
        "",
        br#"{"name": "acme", "plam": "gold"}"#,
    );
    let words = refused.err().unwrap().to_string();
    assert!(words.contains("`plam`"), "{words}");
    let refused = put_together::<key::List>(&BTreeMap::new(), "limit=many", b"");
    let words = refused.err().unwrap().to_string();
    assert!(words.starts_with("`limit`: "), "{words}");
}

#[test]
fn a_null_takes_away_and_an_absent_field_leaves() {
    let path = BTreeMap::from([("id".to_owned(), "0Ab3dEfGh1".to_owned())]);
    let update: key::Update = put_together(&path, "", br#"{"plan": null}"#).unwrap();
    assert_eq!(update.plan, Some(None));
    let update: key::Update = put_together(&path, "", b"{}").unwrap();
    assert_eq!(update.plan, None);
}

mod listing;
mod pages;
mod usage;

#[test]
fn a_next_step_leads_to_a_route_that_there_is() {
    let mut routes = BTreeMap::new();
    macro_rules! all {
        ($($operation:ty,)*) => { $(
            let route = <$operation>::ENDPOINT;
            routes.insert(route.name, format!("{} {}", route.method.as_str(), route.path));
        )* };
    }
    crate::for_each_operation!(all);
    for act in keystile_model::error::Act::ALL {
        let route = routes.get(act.as_str()).map_or("", String::as_str);
        assert_eq!(act.route(), route, "{}", act.as_str());
    }
}

#[test]
fn what_a_query_gives_twice_is_refused_with_its_next_step_apart() {
    let refused = put_together::<key::List>(&BTreeMap::new(), "limit=1&limit=2", b"")
        .err()
        .unwrap();
    let fault = &refused.faults()[0];
    assert_eq!(fault.field.as_deref(), Some("limit"));
    assert_eq!(fault.fact, "is given 2 times");
    assert_eq!(fault.next.words(Surface::Rest), "give it once");
}
