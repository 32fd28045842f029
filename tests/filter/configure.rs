//! The verdict on a configuration: false for what is no keyset, and the same in the canary, in every worker and at any
//! time. A worker that disagrees with the canary would leave the filter out.

use serde_json::{Value, json};

use crate::fixture::envelope::{field, refused, verdict, with};
use crate::fixture::{Edge, Store, by_header, filter, signing_key, signing_keys, vm_in};
use crate::host::{Fault, Outcome, Process, Status, Vm};

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_no_keyset_is_refused_with_its_reason() {
    let whole = Store::small().0.seal();
    let text = String::from_utf8(whole.clone()).unwrap();
    let mut doubled = text.clone();
    doubled.insert_str(1, "\"kid\":\"k1\",");
    for (what, configuration, reason) in [
        ("nothing", Vec::new(), "missing"),
        ("white space", b" \n".to_vec(), "syntax"),
        ("an empty object", b"{}".to_vec(), "syntax"),
        ("an empty text", b"\"\"".to_vec(), "syntax"),
        ("no JSON", b"keystile".to_vec(), "syntax"),
        ("an array", format!("[{text}]").into_bytes(), "syntax"),
        (
            "a Struct as protobuf",
            b"\x0a\x10\x0a\x06format\x12\x06\x11\0\0\0\0\0\0".to_vec(),
            "syntax",
        ),
        ("NUL bytes", vec![0; 300_000], "syntax"),
        ("letters", vec![b'x'; 300_000], "syntax"),
        (
            "an endless text",
            [&b"{\"manifest\":\""[..], &vec![b'A'; 300_000]].concat(),
            "syntax",
        ),
        (
            "an endless number",
            [&b"{\"nonce\":"[..], &vec![b'9'; 300_000]].concat(),
            "syntax",
        ),
        (
            "an endless name",
            [&b"{\""[..], &vec![b'a'; 300_000]].concat(),
            "syntax",
        ),
        ("something behind it", [&whole[..], b"x"].concat(), "syntax"),
        ("itself twice", [&whole[..], &whole[..]].concat(), "syntax"),
        ("another format", with(&whole, "format", json!(2)), "format"),
        (
            "a format as a text",
            with(&whole, "format", json!("1")),
            "syntax",
        ),
        (
            "another kid",
            with(&whole, "kid", json!("k2")),
            "unknown_kid",
        ),
        ("no kid", with(&whole, "kid", json!("")), "unknown_kid"),
        (
            "a negative nonce",
            with(&whole, "nonce", json!(-1)),
            "syntax",
        ),
        (
            "a fractional nonce",
            with(&whole, "nonce", json!(1.5)),
            "syntax",
        ),
        (
            "a nonce of null",
            with(&whole, "nonce", Value::Null),
            "syntax",
        ),
        (
            "padding",
            with(&whole, "hmac", json!(field(&whole, "hmac") + "=")),
            "syntax",
        ),
        (
            "a manifest of nothing",
            with(&whole, "manifest", json!("")),
            "signature",
        ),
        ("another field", with(&whole, "extra", json!(1)), "syntax"),
        ("a field twice", doubled.into_bytes(), "syntax"),
        (
            "escapes",
            text.replace("\"kid\":\"k1\"", "\"kid\":\"\\u006b1\"")
                .into_bytes(),
            "syntax",
        ),
        ("shorter pages", with(&whole, "pages", json!("")), "syntax"),
        (
            "longer pages",
            with(&whole, "pages", json!(field(&whole, "pages") + "AAAA")),
            "syntax",
        ),
        (
            "pages before the rest",
            reordered(
                &whole,
                &["format", "pages", "hmac", "kid", "manifest", "nonce"],
            ),
            "syntax",
        ),
        (
            "pages before the nonce",
            reordered(
                &whole,
                &["format", "hmac", "kid", "manifest", "pages", "nonce"],
            ),
            "syntax",
        ),
    ] {
        assert_eq!(refused(&configuration).as_deref(), Some(reason), "{what}");
    }
    let process = Process::new();
    assert!(!verdict(&process, None), "no configuration at all");
}

/// The fields in this order, with white space as protobuf's JSON has it.
fn reordered(configuration: &[u8], order: &[&str]) -> Vec<u8> {
    let envelope: Value = serde_json::from_slice(configuration).expect("JSON");
    let fields = order
        .iter()
        .map(|name| format!("\"{name}\" :\t{}", envelope[name]));
    format!(" {{\n  {}\r\n}} \n", fields.collect::<Vec<_>>().join(" , ")).into_bytes()
}

#[test]
fn order_and_white_space_are_free_and_the_nonce_decides_nothing() {
    let (store, key) = Store::small();
    let whole = store.seal();
    for (what, configuration) in [
        (
            "white space",
            reordered(
                &whole,
                &["format", "hmac", "kid", "manifest", "nonce", "pages"],
            ),
        ),
        (
            "another order",
            reordered(
                &whole,
                &["nonce", "manifest", "kid", "hmac", "format", "pages"],
            ),
        ),
        (
            "without a nonce",
            reordered(&whole, &["manifest", "kid", "format", "hmac", "pages"]),
        ),
        ("another nonce", with(&whole, "nonce", json!(u64::MAX))),
        (
            "written anew",
            serde_json::from_slice::<Value>(&whole)
                .unwrap()
                .to_string()
                .into_bytes(),
        ),
    ] {
        let process = Process::new();
        let mut vm = vm_in(&process);
        let root = vm
            .start_plugin(Some(&configuration))
            .unwrap_or_else(|why| panic!("{what}: {why:?}"));
        assert!(
            vm.request(root, &by_header(&key))
                .state("wasm.keystile.client")
                .is_some(),
            "{what}"
        );
    }
}

#[test]
fn a_keyset_may_come_as_bytes_and_its_keys_open() {
    let (mut store, _) = Store::small();
    let keys: Vec<String> = (0..300)
        .map(|n| store.issue(&format!("client-{n}")))
        .collect();
    let process = Process::new();
    let mut vm = vm_in(&process);
    let configuration = store.build().seal_raw(&[signing_key()], 1);
    let root = vm.start_plugin(Some(&configuration)).expect("accepted");
    let mut edge = Edge { process, vm, root };
    keys.iter().for_each(|key| assert_eq!(edge.code(key), "ok"));
    edge.push(store.change(|store| store.row(&keys[0]).revoked = true));
    assert_eq!(
        edge.code(&keys[0]),
        "revoked_api_key",
        "the forms may follow each other"
    );
}

#[test]
fn signing_keys_that_are_missing_or_garbled_refuse_every_keyset() {
    let whole = Store::small().0.seal();
    let good = signing_keys();
    let (_, secret) = good.split_once(':').unwrap();
    let start = |environment: &[(&str, &str)]| {
        let process = Process::new();
        let mut vm = Vm::new(filter(), &process, environment).expect("the module starts");
        let accepted = vm.start_plugin(Some(&whole)).is_ok();
        let reasons = process
            .borrow()
            .counter("reason=.=signing_keys;.;keystile_pushes_refused_total");
        (accepted, reasons.unwrap_or(0))
    };
    assert_eq!(start(&[]), (false, 1), "not set");
    for text in [
        "",
        ",",
        "k1",
        "k1:",
        "k1:AAAA",
        "k1:*",
        ":",
        secret,
        "k 1:AAAA",
        &format!("{good},{good}"),
        &format!("{good},k2:short"),
    ] {
        assert_eq!(
            start(&[("KEYSTILE_SIGNING_KEYS", text)]),
            (false, 1),
            "{text}"
        );
    }
    assert!(
        !start(&[("KEYSTILE_SIGNING_KEYS", &format!("k2:{secret}"))]).0,
        "the same secret under another name"
    );
    assert!(
        start(&[(
            "KEYSTILE_SIGNING_KEYS",
            &format!("k2:{},{good}", "A".repeat(43))
        )])
        .0,
        "one of two"
    );
    assert!(
        start(&[("KEYSTILE_SIGNING_KEYS", &format!(" {good}=, "))]).0,
        "padded, with blanks"
    );
}

/// A host that cannot log, count, declare or share says nothing about the keyset.
#[test]
fn hostcalls_that_fail_do_not_change_the_verdict() {
    let (mut store, key) = Store::small();
    store.version = 5;
    let whole = store.seal();
    let fresh = || {
        let process = Process::new();
        let vm = vm_in(&process);
        process.borrow_mut().calls.clear();
        (process, vm)
    };
    let (process, mut vm) = fresh();
    vm.start_plugin(Some(&whole)).expect("accepted");
    let calls = process.borrow().calls.clone();
    for (name, count) in calls {
        // The verdict is about what these two bring.
        if name == "proxy_get_buffer_bytes" || name.starts_with("environ_") {
            continue;
        }
        for skip in 0..u32::try_from(count).unwrap() {
            for times in [1, u32::MAX] {
                let (process, mut vm) = fresh();
                let status = Status::InternalFailure;
                let fault = Fault {
                    status,
                    skip,
                    times,
                };
                process.borrow_mut().fail.insert(name.clone(), fault);
                let root = vm.start_plugin(Some(&whole));
                let root = root.unwrap_or_else(|why| panic!("{name} number {skip}: {why:?}"));
                vm.tick(root).expect("nor does a tick trap");
                process.borrow_mut().fail.clear();
                vm.tick(root).expect("nor the next");
                let answer = vm.request(root, &by_header(&key));
                assert!(
                    matches!(answer, Outcome::Continue { .. }),
                    "{name} number {skip}"
                );
            }
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused() {
    let whole = Store::small().0.seal();
    for status in [
        Status::NotFound,
        Status::BadArgument,
        Status::InternalFailure,
    ] {
        let process = Process::new();
        process
            .borrow_mut()
            .fail_next("proxy_get_buffer_bytes", status, u32::MAX);
        assert!(!verdict(&process, Some(&whole)), "{status:?}");
    }
}

/// What may differ between the canary and a worker: clocks, shared data, what the VM did before.
#[test]
fn the_verdict_depends_on_the_bytes_alone() {
    let (store, key) = Store::small();
    let store = store.set("not_after", json!("1h"));
    let good = store.seal();
    let bad = with(&good, "hmac", json!("A".repeat(43)));
    let mut newer = store.clone();
    newer.version = 1000;
    for (wall, monotonic) in [(0, 0), (1, 1), (u64::MAX, u64::MAX), (u64::MAX / 2, 7)] {
        let process = Process::new();
        (process.borrow_mut().wall, process.borrow_mut().monotonic) = (wall, monotonic);
        assert!(
            verdict(&process, Some(&good)) && !verdict(&process, Some(&bad)),
            "at {wall} and {monotonic}"
        );
    }
    let mut edge = Edge::start(&newer);
    edge.tick();
    assert!(
        verdict(&edge.process, Some(&good)),
        "older than what another VM has in force"
    );
    assert!(!verdict(&edge.process, Some(&bad)));
    assert!(
        edge.vm.start_plugin(Some(&good)).is_ok(),
        "older than what this VM has in force"
    );
    let process = Process::new();
    for key in edge.process.borrow().shared_data.keys() {
        process.borrow_mut().set_shared_data(key, b"garbage", 0);
    }
    assert!(
        verdict(&process, Some(&good)) && !verdict(&process, Some(&bad)),
        "garbage in shared data"
    );
    let mut edge = Edge::beside(&process, &store);
    assert_eq!(edge.code(&key), "ok", "garbage is no version");
}
