//! What stands for no earlier pass.

use super::*;

#[test]
fn nothing_that_a_caller_sends_stands_for_an_earlier_pass() {
    let (mut store, key) = store();
    let mut edge = Edge::start(&store);
    let digest = store.row(&key).digest.prefix();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = store.row(&key).id.to_string();
    let pass = format!("pass.{}", store.id);
    let seen = format!("seen.{}", store.id);
    let names = ["pass", &pass[..], &seen, "key", "client"].map(|name| {
        let forms = ["keystile.", "wasm.keystile.", "x-keystile-", "keystile-"];
        forms.map(|form| format!("{form}{name}"))
    });
    let first = first_pass(&mut edge, &by_header(&key));
    let mark = first.state("wasm.keystile.pass").expect("set");
    for value in [&hex, &id, &mark] {
        let names = names.iter().flatten();
        let request = names.fold(Request::get("/plain"), |request, name| {
            request.header(name, value)
        });
        assert_eq!(edge.ask(&request).code(), "missing_api_key");
    }
    // Not even the filter state, unless it is the filter's own, of the same policy, and well formed.
    let other = |at: usize| {
        let mut mark = mark.clone();
        let digit = if &mark[at..=at] == "0" { "1" } else { "0" };
        mark.replace_range(at..=at, digit);
        mark
    };
    let (other_store, other_policy) = (other(9), other(25));
    for forged in [
        "",
        &hex,
        &id,
        &mark[9..],
        &mark[..mark.len() - 1],
        &other_store,
        &other_policy,
    ] {
        let mut second = by_header(&key).redirected(&first, "/plain");
        let state = second.filter_state.get_mut("wasm.keystile.pass");
        state.expect("set").value = forged.as_bytes().to_vec();
        assert_eq!(edge.ask(&second).code(), "missing_api_key", "{forged}");
    }
}

/// Envoy can be told to answer a refusal with another page, for which it runs the filter
/// chain again as for a redirect of the upstream's.
#[test]
fn who_was_refused_is_not_let_in_by_a_redirect_of_the_refusal() {
    let (store, key) = store();
    for forwards in [false, true] {
        let store = store.clone().set("forward_credential", json!(forwards));
        let mut edge = Edge::start(&store);
        let request = by_header(&key);
        for _ in 0..2 {
            assert_eq!(edge.ask(&request).code(), "ok");
        }
        let refused = edge.ask(&request);
        assert_eq!(refused.code(), "rate_limited");
        assert!(refused.state("key").is_some(), "logs name the key");
        let second = Request {
            filter_state: refused.filter_state.clone(),
            ..Request::get("/plain")
        };
        assert_eq!(edge.ask(&second).code(), "missing_api_key");
        let with_key = Request {
            filter_state: refused.filter_state,
            ..request
        };
        assert_eq!(edge.ask(&with_key).code(), "rate_limited");
    }
}
