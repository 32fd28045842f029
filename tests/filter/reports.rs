//! What a VM tells the control plane: signed, at every change and every so often, and never at the cost of a request.

use std::time::Duration;

use keystile_core::keyset::{NodeKey, SigningKeys};
use keystile_core::report::{Report, StoreState, open};
use serde_json::json;

use crate::fixture::{Edge, NOW, Pair, SECRET, Store, by_header, filter, signing_keys};
use crate::host::{Fault, Headers, Process, Shared, Status, Vm};

const UNSENT: &str = "keystile_reports_unsent_total";

/// A store whose policy asks for reports, and a key.
fn reporting() -> (Store, String) {
    let (store, key) = Store::small();
    let report = json!({"cluster": "control", "every": "10s", "usage": false});
    (store.set("report", report), key)
}

/// The reports sent so far, verified.
#[track_caller]
fn sent(process: &Shared) -> Vec<Report> {
    let keys = SigningKeys::parse(&signing_keys()).expect("the keys hold");
    let process = process.borrow();
    let calls = process.http_calls.iter().map(|call| {
        let header = |name: &str| call.headers.get(name).unwrap_or_default();
        assert_eq!(call.cluster, "control");
        assert_eq!(header(":method"), "POST");
        assert_eq!(header(":path"), "/v1/reports");
        assert_eq!(header(":authority"), "control");
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(call.timeout, Duration::from_secs(5));
        let (kid, tag) = (header("x-keystile-kid"), header("x-keystile-signature"));
        open(&call.body, &kid, &tag, &keys).expect("the signature holds")
    });
    calls.collect()
}

fn states(process: &Shared) -> Vec<(u64, u64, bool)> {
    let told = |r: Report| {
        let StoreState {
            version,
            base,
            missing_base,
            ..
        } = r.stores[0];
        (version, base, missing_base)
    };
    sent(process).into_iter().map(told).collect()
}

#[test]
fn an_envoy_with_a_secret_of_its_own_signs_with_that_and_a_garbled_one_is_said() {
    let (store, _) = reporting();
    let keys = signing_keys();
    let start = |own: &str| {
        let process = Process::new();
        let environment = [
            ("KEYSTILE_SIGNING_KEYS", &*keys),
            ("KEYSTILE_NODE_KEY", own),
        ];
        let mut vm = Vm::new(filter(), &process, &environment).expect("the module starts");
        let root = vm.start_plugin(Some(&store.seal())).ok();
        let taken = root.is_some();
        if let Some(root) = root {
            vm.tick(root).expect("a tick does not trap");
        }
        (process, taken)
    };
    let own = format!("edge-1:{}", "E".repeat(43));
    let (process, taken) = start(&own);
    assert!(taken);
    let process = process.borrow();
    let call = process.http_calls.first().expect("a report");
    let header = |name: &str| call.headers.get(name).unwrap_or_default();
    assert_eq!(header("x-keystile-kid"), NodeKey::KID);
    let key = NodeKey::parse(&own).expect("it holds").signing_key();
    let read = |keys| {
        open(
            &call.body,
            NodeKey::KID,
            &header("x-keystile-signature"),
            &keys,
        )
    };
    assert_eq!(
        read(SigningKeys::new(vec![key])).expect("it verifies").node,
        "edge-1"
    );

    for garbled in ["edge-1", "edge-1:", ":AAAA", "edge-1:AAAA", "edge-1:*"] {
        let (process, taken) = start(garbled);
        assert!(!taken, "{garbled}");
        let process = process.borrow();
        let said = |l: &str| l.contains("`KEYSTILE_NODE_KEY`") && l.contains("node enroll");
        assert!(process.log.iter().any(|l| said(&l.text)), "{garbled}");
        assert!(!process.log.iter().any(|l| l.text.contains("AAAA")));
    }
}

#[test]
fn a_report_says_who_has_what_in_force() {
    let (mut store, _) = reporting();
    store.version = 7;
    let mut edge = Edge::start(&store);
    assert_eq!(sent(&edge.process).len(), 0, "a canary gets no further");
    edge.tick();
    let all = sent(&edge.process);
    assert_eq!(all.len(), 1);
    assert_eq!(
        all[0],
        Report {
            node: "edge-1".into(),
            process: all[0].process,
            vm: 0,
            vms: 1,
            sent: NOW,
            claimed: 5_000_000_000_000,
            stores: vec![StoreState {
                store: store.id.to_string(),
                version: 7,
                base: 7,
                missing_base: false,
            }],
        }
    );
}

/// Two Envoys may have one node id, by mistake or during a hot restart.
#[test]
fn all_vms_of_a_process_name_it_and_no_other_process_is_called_so() {
    let (store, _) = reporting();
    let name = |sent: Vec<Report>| {
        let names = sent.into_iter().map(|r| r.process.expect("a name"));
        let mut names: Vec<_> = names.collect();
        names.dedup();
        assert_eq!(names.len(), 1, "{names:?}");
        names[0]
    };
    let mut edge = Edge::start(&store);
    edge.tick();
    let mut worker = Edge::beside(&edge.process, &store);
    edge.wait(1);
    worker.tick();
    edge.wait(60);
    edge.tick();
    let former = name(sent(&edge.process));

    let child = Process::new();
    child.borrow_mut().advance(Duration::from_nanos(1));
    let mut edge = Edge::beside(&child, &store);
    edge.tick();
    assert_ne!(name(sent(&child)), former);
}

#[test]
fn without_report_in_the_policy_nothing_is_sent() {
    let (store, _) = Store::small();
    let mut edge = Edge::start(&store);
    for _ in 0..400 {
        edge.tick();
        edge.wait(1);
    }
    assert_eq!(edge.process.borrow().http_calls.len(), 0);
    edge.add(&store);
    assert_eq!(edge.vm.tick_period(edge.root), 100);
}

#[test]
fn a_push_is_reported_with_the_next_tick_which_comes_at_once() {
    let (mut store, _) = reporting();
    let mut edge = Edge::start(&store);
    edge.tick();
    edge.push(store.change(|_| {}));
    assert!((1..=5).contains(&edge.vm.tick_period(edge.root)));
    edge.tick();
    assert_eq!(edge.vm.tick_period(edge.root), 1000);
    assert_eq!(states(&edge.process), [(1, 1, false), (2, 2, false)]);
}

#[test]
fn what_stays_the_same_is_said_again_every_so_often() {
    let (store, _) = reporting();
    let mut edge = Edge::start(&store);
    for _ in 0..100 {
        tick_and_answer(&mut edge, Some("204"));
        edge.wait(1);
    }
    let times: Vec<u64> = sent(&edge.process).iter().map(|r| r.sent).collect();
    assert!((9..=12).contains(&times.len()), "{times:?}");
    assert!(times.windows(2).all(|w| (9..=12).contains(&(w[1] - w[0]))));
}

#[test]
fn each_vm_reports_under_its_own_number_and_counts_those_that_live() {
    let (store, _) = reporting();
    let process = Process::new();
    let mut vms: Vec<Edge> = (0..3).map(|_| Edge::beside(&process, &store)).collect();
    let tick = |vms: &mut Vec<Edge>| vms.iter_mut().for_each(Edge::tick);
    tick(&mut vms);
    let numbers: Vec<u32> = sent(&process).iter().map(|r| r.vm).collect();
    assert_eq!(numbers, [0, 1, 2]);
    vms.pop();
    for _ in 0..20 {
        vms[0].wait(1);
        tick(&mut vms);
    }
    let last = sent(&process).pop().unwrap();
    assert_eq!(last.vms, 2);
    assert!(last.vm < 2);
}

#[test]
fn a_report_that_cannot_be_sent_is_tried_again_with_the_next_tick() {
    for status in [Status::BadArgument, Status::InternalFailure] {
        let (store, key) = reporting();
        let mut edge = Edge::start(&store);
        let fault = Fault {
            status,
            skip: 0,
            times: 3,
        };
        edge.process
            .borrow_mut()
            .fail
            .insert("proxy_http_call".to_owned(), fault);
        for n in 1..=3 {
            edge.tick();
            assert_eq!((edge.counter(UNSENT), sent(&edge.process).len()), (n, 0));
            assert_eq!(edge.code(&key), "ok");
        }
        let said = |line: &&crate::host::Line| line.text.contains("cluster `control`");
        assert_eq!(edge.process.borrow().log.iter().filter(said).count(), 1);
        edge.tick();
        assert_eq!((edge.counter(UNSENT), sent(&edge.process).len()), (3, 1));
    }
}

/// A tick, and this answer to the reports that it sends. How many there were.
fn tick_and_answer(edge: &mut Edge, status: Option<&str>) -> usize {
    let calls = |edge: &Edge| edge.process.borrow().http_calls.len();
    let before = calls(edge);
    edge.tick();
    for call in before..calls(edge) {
        let token = u32::try_from(call + 1).expect("few calls");
        let answer = status.map(|s| (Headers::new(&[(":status", s)]), Vec::new()));
        edge.vm
            .answer_call(edge.root, token, answer)
            .expect("no trap");
    }
    calls(edge) - before
}

#[test]
fn a_report_that_is_not_confirmed_is_said_again_soon_and_ever_more_slowly() {
    for refused in [Some("503"), Some("403"), Some("302"), None] {
        let (store, key) = Store::small();
        let report = json!({"cluster": "control", "every": "5m", "usage": false});
        let mut edge = Edge::start(&store.set("report", report));
        let mut times = Vec::new();
        for second in 0..120u64 {
            times.extend((tick_and_answer(&mut edge, refused) > 0).then_some(second));
            edge.wait(1);
        }
        let pauses: Vec<u64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        // After one second, two, four, eight and then fifteen, a tenth more or less and up to the tick.
        let expected = [1..=2, 2..=3, 4..=5, 8..=9, 14..=17, 14..=17, 14..=17];
        assert!(pauses.len() >= expected.len(), "{refused:?}: {pauses:?}");
        for (pause, expected) in pauses.iter().zip(&expected) {
            assert!(expected.contains(pause), "{refused:?}: {pauses:?}");
        }

        // Confirmed, it is quiet until the next is due.
        let mut ticks = 0;
        while tick_and_answer(&mut edge, Some("204")) == 0 {
            edge.wait(1);
            ticks += 1;
        }
        assert!(ticks <= 17);
        let quiet = (0..250).map(|_| {
            edge.wait(1);
            tick_and_answer(&mut edge, Some("204"))
        });
        assert_eq!(quiet.sum::<usize>(), 0);
        assert_eq!(edge.code(&key), "ok");
    }
}

#[test]
fn a_report_whose_answer_died_with_its_root_is_said_again_and_a_late_answer_harms_nothing() {
    let (store, key) = Store::small();
    let report = json!({"cluster": "control", "every": "5m", "usage": false});
    let mut store = store.set("report", report);
    let mut edge = Edge::start(&store);
    edge.tick();
    let old = edge.root;
    edge.push(store.change(|_| {}));
    edge.tick();
    assert_ne!(old, edge.root);
    // To the report of the version before: nobody waits for it.
    edge.vm.answer_call(edge.root, 1, None).expect("no trap");
    assert_eq!(sent(&edge.process).len(), 2);
    let mut waited = 0;
    while sent(&edge.process).len() == 2 {
        edge.wait(1);
        edge.tick();
        waited += 1;
    }
    assert!((6..=9).contains(&waited), "{waited}");
    assert_eq!(edge.code(&key), "ok");
}

#[test]
fn a_vm_that_lost_its_base_says_so_without_a_policy_to_ask() {
    let (base, key) = reporting();
    let mut later = base.clone();
    later.change(|_| {});
    let pair = Pair::start(&base, &later);
    let process = pair.edge.process.clone();
    let mut pair = pair.reloaded(&later.seal_over(&base));
    pair.edge.tick();
    assert_eq!(states(&process), [(2, 1, false), (0, 0, true)]);
    pair.push_base(&base);
    pair.edge.tick();
    assert_eq!(states(&process)[2..], [(2, 1, false)]);
    assert_eq!(pair.code(&key), "ok");
}

#[test]
fn a_push_that_is_not_taken_is_not_reported_as_in_force() {
    let (mut store, _) = reporting();
    let old = store.clone();
    let mut edge = Edge::start(store.change(|_| {}));
    edge.tick();
    edge.push(&old);
    edge.tick();
    assert_eq!(states(&edge.process), [(2, 2, false)]);
}

#[test]
fn a_node_id_that_is_long_or_no_text_is_cut_to_what_a_report_may_hold() {
    for node in [
        vec![],
        vec![b'n'; 1000],
        "ü".repeat(200).into_bytes(),
        vec![0xFF; 300],
    ] {
        let (store, _) = reporting();
        let mut edge = Edge::start(&store);
        edge.process.borrow_mut().node = node.clone();
        edge.tick();
        let told = sent(&edge.process)[0].node.clone();
        assert!(String::from_utf8_lossy(&node).starts_with(&told));
        assert_eq!(told.is_empty(), node.is_empty());
    }
}

#[test]
fn requests_send_nothing_and_reports_hold_no_secret() {
    let (store, key) = reporting();
    let mut edge = Edge::start(&store);
    for _ in 0..10 {
        assert_eq!(edge.ask(&by_header(&key)).code(), "ok");
    }
    assert_eq!(sent(&edge.process).len(), 0);
    edge.tick();
    let all = edge.process.borrow().transcript();
    let whole = signing_keys();
    let (_, encoded) = whole.split_once(':').unwrap();
    for secret in [&SECRET[..], encoded.as_bytes(), key.as_bytes()] {
        assert!(!all.windows(secret.len()).any(|part| part == secret));
    }
}
