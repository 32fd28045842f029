//! Pages that are not those that were signed: their keys are refused, the others work, and a metric says so.

use std::collections::BTreeMap;

use keystile_core::key::Parsed;
use keystile_core::keyset::{KeyRow, PAGE};
use serde_json::json;

use crate::fixture::{Answer, Edge, Store, by_header, vm_in};
use crate::host::Process;

const KEYS: usize = 1_000;
/// Bytes of a record of the index.
const RECORD: usize = 32;

/// A keyset whose index takes eight pages and whose heap several, with a profile for each key.
fn large() -> (Store, Vec<String>) {
    let mut store = Store::with(json!({"routes": [{"path": "/plain"}]}));
    let profile =
        |n: usize| move |row: &mut KeyRow| row.origins = vec![format!("https://{n}.example")];
    let keys = (0..KEYS)
        .map(|n| store.issue_as(&format!("client-{n}"), profile(n)))
        .collect();
    (store, keys)
}

/// Where the parts of `pages` begin.
struct Layout {
    index: usize,
    heap: usize,
    end: usize,
}

fn layout(store: &Store) -> Layout {
    let built = store.build();
    let end = built.pages.len();
    let index_bytes = built.keys * RECORD;
    let index_pages = index_bytes.div_ceil(PAGE);
    // The directory: 16 bytes for each page of the index, 32 for each page.
    let mut heap_pages = 0;
    while index_pages * 48 + heap_pages * 32 + index_bytes + heap_pages * PAGE < end {
        heap_pages += 1;
    }
    let index = index_pages * 48 + heap_pages * 32;
    Layout {
        index,
        heap: index + index_bytes,
        end,
    }
}

/// An Envoy with a keyset whose pages have a bit flipped at each of these places.
fn start(store: &Store, places: &[usize]) -> Edge {
    let mut built = store.build();
    for &at in places {
        built.pages[at] ^= 0x10;
    }
    let configuration = built.seal(&crate::fixture::signing_key(), 1);
    let process = Process::new();
    let mut vm = vm_in(&process);
    let root = vm.start_plugin(Some(configuration.as_bytes()));
    Edge {
        process,
        vm,
        root: root.expect("a corrupt page is not seen when it is loaded"),
    }
}

fn ask(edge: &mut Edge, number: usize, key: &str) -> Answer {
    edge.ask(&by_header(key).header("origin", format!("https://{number}.example")))
}

/// How many keys got which answer.
fn ask_all(edge: &mut Edge, keys: &[String]) -> BTreeMap<String, Vec<usize>> {
    let mut answers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (number, key) in keys.iter().enumerate() {
        let answer = ask(edge, number, key);
        let details = if answer.passed() {
            "ok".to_owned()
        } else {
            answer.reply().details.clone()
        };
        if answer.passed() {
            assert_eq!(answer.state("client"), Some(format!("client-{number}")));
        } else {
            assert_eq!(answer.reply().status, 503);
            assert!(!answer.passes_guard());
        }
        answers.entry(details).or_default().push(number);
    }
    answers
}

/// Numbers of the keys in the order of the index.
fn sorted(keys: &[String]) -> Vec<usize> {
    let digest = |n: &usize| Parsed::parse(keys[*n].as_bytes()).ok().unwrap().digest();
    let mut numbers: Vec<usize> = (0..keys.len()).collect();
    numbers.sort_by_key(digest);
    numbers
}

const CORRUPT: &str = "keystile:keyset_unavailable:corrupt_page";
const METRIC: &str = "keystile_corrupt_pages_total";

#[test]
fn a_whole_keyset_has_no_corrupt_page() {
    let (store, keys) = large();
    let mut edge = start(&store, &[]);
    let answers = ask_all(&mut edge, &keys);
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["ok"]);
    assert_eq!(edge.counter(METRIC), 0);
}

#[test]
fn a_corrupt_page_of_the_index_takes_its_own_keys_and_no_others() {
    let (store, keys) = large();
    let layout = layout(&store);
    let per_page = PAGE / RECORD;
    let order = sorted(&keys);
    for page in [0, 3, 7] {
        // The first record, a digest in the middle, the last byte of the page.
        let start_of_page = layout.index + page * PAGE;
        let end_of_page = (start_of_page + PAGE).min(layout.heap);
        for at in [
            start_of_page,
            (start_of_page + end_of_page) / 2 + 5,
            end_of_page - 1,
        ] {
            let mut edge = start(&store, &[at]);
            let answers = ask_all(&mut edge, &keys);
            let mut expected = order[page * per_page..((page + 1) * per_page).min(KEYS)].to_vec();
            expected.sort_unstable();
            assert_eq!(answers[CORRUPT], expected, "page {page}, byte {at}");
            assert_eq!(answers["ok"].len(), KEYS - expected.len());
            assert_eq!(edge.counter(METRIC), 1, "once, not for each request");
            assert_eq!(edge.counted("keyset_unavailable"), expected.len() as u64);
        }
    }
}

#[test]
fn a_corrupt_page_of_the_heap_takes_the_keys_whose_rules_are_in_it() {
    let (store, keys) = large();
    let layout = layout(&store);
    let heap_pages = (layout.end - layout.heap).div_ceil(PAGE);
    assert!(heap_pages > 5, "{heap_pages} pages");
    let mut taken: Vec<usize> = Vec::new();
    for page in 0..heap_pages {
        let mut edge = start(
            &store,
            &[(layout.heap + page * PAGE + 100).min(layout.end - 1)],
        );
        let answers = ask_all(&mut edge, &keys);
        assert_eq!(answers.len(), 2, "{:?}", answers.keys());
        assert_eq!(edge.counter(METRIC), 1);
        taken.extend(&answers[CORRUPT]);
    }
    // Every key is in some page; those across a border are in two.
    let all = taken.len();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), KEYS);
    assert!(all < KEYS + heap_pages, "{all}");
}

#[test]
fn several_corrupt_pages_are_counted_each_once() {
    let (store, keys) = large();
    let layout = layout(&store);
    let mut edge = start(
        &store,
        &[layout.index, layout.index + 2 * PAGE, layout.end - 1],
    );
    ask_all(&mut edge, &keys);
    ask_all(&mut edge, &keys);
    assert_eq!(edge.counter(METRIC), 3);
}

#[test]
fn a_good_push_heals_a_corrupt_page() {
    let (mut store, keys) = large();
    let mut edge = start(&store, &[layout(&store).index]);
    assert!(ask_all(&mut edge, &keys).contains_key(CORRUPT));
    edge.push(store.change(|_| {}));
    assert_eq!(ask_all(&mut edge, &keys).keys().collect::<Vec<_>>(), ["ok"]);
}

#[test]
fn an_unknown_key_is_not_said_to_be_unknown_where_the_page_cannot_tell() {
    let (mut store, _) = large();
    let strangers: Vec<String> = (0..20).map(|_| store.issue("stranger")).collect();
    store.rows.truncate(KEYS);
    let layout = layout(&store);
    let index: Vec<usize> = (layout.index..layout.heap).step_by(PAGE).collect();
    let mut edge = start(&store, &index);
    for key in &strangers {
        let code = edge.code(key);
        assert!(
            matches!(&code[..], "keyset_unavailable" | "unknown_api_key"),
            "{code}"
        );
        assert!(!edge.ask(&by_header(key)).passes_guard());
    }
}

#[test]
fn a_directory_that_was_changed_is_refused_when_it_is_loaded() {
    let (store, _) = large();
    let layout = layout(&store);
    for at in (0..layout.index).step_by(29) {
        let mut built = store.build();
        built.pages[at] ^= 1;
        let configuration = built.seal(&crate::fixture::signing_key(), 1);
        let process = Process::new();
        assert!(
            vm_in(&process)
                .start_plugin(Some(configuration.as_bytes()))
                .is_err(),
            "byte {at}"
        );
        let reason = "reason=.=pages;.;keystile_pushes_refused_total";
        assert_eq!(process.borrow().counter(reason), Some(1));
    }
}

/// Each page is whole, and stands where another was signed.
#[test]
fn pages_cannot_change_places() {
    let (store, keys) = large();
    let layout = layout(&store);
    let mut built = store.build();
    let (a, b) = (layout.index, layout.index + PAGE);
    for n in 0..PAGE {
        built.pages.swap(a + n, b + n);
    }
    let text = built.seal(&crate::fixture::signing_key(), 1);
    let process = Process::new();
    let mut vm = vm_in(&process);
    let root = vm.start_plugin(Some(text.as_bytes())).expect("accepted");
    let mut edge = Edge { process, vm, root };
    assert_eq!(ask_all(&mut edge, &keys)[CORRUPT].len(), 2 * PAGE / RECORD);
}
