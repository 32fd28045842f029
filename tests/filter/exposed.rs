//! Keys that come over plain HTTP where TLS is required: named to the control plane, and to nobody
//! else.

use std::collections::BTreeMap;

use serde_json::json;

use crate::fixture::{Control, Edge, Store, by_header};
use crate::host::Request;

fn over_tls(request: Request) -> Request {
    request.property(&["connection", "tls_version"], "TLSv1.3")
}

#[test]
fn a_key_in_the_clear_is_refused_and_reported_by_its_id() {
    let report = json!({"cluster": "control", "every": "10s"});
    let mut store = Store::new()
        .set("require_tls", json!(true))
        .set("report", report);
    let key = store.issue("acme");
    let id = store.row(&key).id.to_string();
    let mut edge = Edge::start(&store);
    let mut control = Control::default();
    let plain = edge.ask(&by_header(&key));
    assert_eq!(plain.code(), "tls_required");
    assert_eq!(plain.reply().status, 403, "refused, and not redirected");
    assert_eq!(plain.field("location"), None);
    assert_eq!(plain.state("key").as_deref(), Some(id.as_str()));
    // Every store issues the same keys in the same order.
    let stranger = store.clone().issue("other");
    let foreign = edge.ask(&by_header(&stranger));
    let [ours, theirs] = [&plain, &foreign].map(|answer| format!("{:?}", answer.reply()));
    assert_eq!(
        ours, theirs,
        "the answer does not say whether the key is one"
    );
    edge.ask(&over_tls(by_header(&key)));
    control.settle(&mut edge);
    let route = Some("/plain".to_owned());
    let row =
        |key: Option<&String>, outcome: &str| (key.cloned(), route.clone(), outcome.to_owned());
    let expected = BTreeMap::from([
        (row(Some(&id), "tls_required"), 1),
        (row(None, "tls_required"), 1),
        (row(Some(&id), "ok"), 1),
    ]);
    assert_eq!(control.sums(), expected);
}

#[test]
fn the_upstream_of_shadow_mode_is_not_told_of_a_key_in_the_clear() {
    let mut store = Store::new()
        .set("require_tls", json!(true))
        .set("mode", json!("shadow"));
    let key = store.issue("acme");
    let mut edge = Edge::start(&store);
    let answer = edge.ask(&by_header(&key));
    assert!(answer.passed());
    assert_eq!(answer.headers.get("x-keystile-client"), None);
}
