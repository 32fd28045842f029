//! Trailers, which some servers merge into the headers.

use serde_json::json;

use crate::fixture::{Edge, Store, by_header};
use crate::host::{Headers, Status};

fn smuggled() -> Headers {
    Headers::new(&[
        ("x-keystile-client", "root"),
        ("x_keystile_key", "0000000000"),
        ("authorization", "Bearer K"),
        ("x-api-key", "K"),
        ("x-http-method-override", "DELETE"),
        ("checksum", "x"),
    ])
}

#[test]
fn trailers_bring_no_identity_and_no_key() {
    let (store, key) = Store::small();
    for store in [store.clone(), store.set("forward_credential", json!(true))] {
        let mut edge = Edge::start(&store);
        let (stream, _) = edge.vm.open(edge.root, &by_header(&key));
        let (goes_on, left) = edge.vm.trailers(&stream, smuggled()).expect("no trap");
        assert!(goes_on);
        assert_eq!(left, Headers::new(&[("checksum", "x")]));
        edge.vm.finish(stream).expect("no trap");
    }
}

#[test]
fn trailers_that_cannot_be_changed_or_judged_do_not_go_on() {
    let (store, key) = Store::small();
    for call in [
        "proxy_get_header_map_pairs",
        "proxy_remove_header_map_value",
    ] {
        let mut edge = Edge::start(&store);
        let (stream, _) = edge.vm.open(edge.root, &by_header(&key));
        edge.process
            .borrow_mut()
            .fail_next(call, Status::InternalFailure, 1);
        let (goes_on, _) = edge.vm.trailers(&stream, smuggled()).expect("no trap");
        assert!(!goes_on, "{call}");
        let reply = edge.vm.reply(&stream).expect("answered");
        assert_eq!(reply.status, 503);
        edge.vm.finish(stream).expect("no trap");
    }
}
