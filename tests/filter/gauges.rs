//! A gauge for each VM that lives proves which version it has in force; the dead show none.

use crate::fixture::{Edge, Store};
use crate::host::{Process, Shared};

fn version_of(process: &Shared, vm: u32) -> Option<u64> {
    process
        .borrow()
        .gauge(&format!("vm=.={vm};.;keystile_keyset_version"))
}

/// The gauges of all numbers that were ever claimed.
fn versions(process: &Shared) -> Vec<u64> {
    (0..).map_while(|vm| version_of(process, vm)).collect()
}

fn store(version: u64) -> Store {
    let (mut store, _) = Store::small();
    store.version = version;
    store
}

fn wait(process: &Shared, seconds: u64) {
    process
        .borrow_mut()
        .advance(std::time::Duration::from_secs(seconds));
}

#[test]
fn three_vms_that_tick_show_three_gauges_with_the_version() {
    let process = Process::new();
    let mut vms: Vec<Edge> = (0..3).map(|_| Edge::beside(&process, &store(7))).collect();
    vms.iter_mut().for_each(Edge::tick);
    assert_eq!(versions(&process), [7, 7, 7]);
    vms[1].push(&store(8));
    let mut now = versions(&process);
    now.sort_unstable();
    assert_eq!(now, [7, 7, 8], "at once, not at the next tick");
    for vm in [0, 2] {
        vms[vm].push(&store(8));
    }
    assert_eq!(versions(&process), [8, 8, 8]);
}

#[test]
fn a_vm_keeps_its_number_from_tick_to_tick_and_from_push_to_push() {
    let process = Process::new();
    let mut vms: Vec<Edge> = (0..3).map(|_| Edge::beside(&process, &store(7))).collect();
    for version in 8..12 {
        vms.iter_mut().for_each(|vm| vm.push(&store(version)));
        for _ in 0..3 {
            vms.iter_mut().for_each(Edge::tick);
            wait(&process, 1);
        }
        assert_eq!(versions(&process), [version; 3]);
    }
}

#[test]
fn a_canary_that_never_ticks_claims_no_number() {
    let process = Process::new();
    let mut worker = Edge::beside(&process, &store(7));
    worker.tick();
    let canary = Edge::beside(&process, &store(8));
    drop(canary);
    worker.tick();
    assert_eq!(versions(&process), [7]);
}

#[test]
fn the_gauge_of_a_dead_vm_falls_to_zero_and_its_number_is_claimed_again() {
    let process = Process::new();
    let mut vms: Vec<Edge> = (0..3).map(|_| Edge::beside(&process, &store(7))).collect();
    vms.iter_mut().for_each(Edge::tick);
    vms.remove(1);
    for _ in 0..5 {
        wait(&process, 1);
        vms.iter_mut().for_each(Edge::tick);
        assert_eq!(versions(&process), [7, 7, 7], "it may only be late");
    }
    wait(&process, 1);
    vms.iter_mut().for_each(Edge::tick);
    assert_eq!(versions(&process), [7, 0, 7]);
    vms.push(Edge::beside(&process, &store(9)));
    vms.iter_mut().for_each(Edge::tick);
    assert_eq!(versions(&process), [7, 9, 7]);
    wait(&process, 1);
    vms.iter_mut().for_each(Edge::tick);
    assert_eq!(
        versions(&process),
        [7, 9, 7],
        "nobody holds it for dead any more"
    );
}

#[test]
fn a_vm_without_a_keyset_in_force_shows_zero() {
    let process = Process::new();
    let mut first = Edge::beside(&process, &store(7));
    first.tick();
    let mut second = Edge::beside(&process, &store(6));
    second.tick();
    assert_eq!(versions(&process), [7, 0]);
}

#[test]
fn gauges_tell_the_keys_and_the_age_of_the_keyset() {
    let mut store = store(7);
    (0..9).for_each(|_| drop(store.issue("beta")));
    let mut edge = Edge::start(&store);
    edge.tick();
    assert_eq!(edge.gauge("keystile_keyset_keys"), Some(10));
    assert_eq!(edge.gauge("keystile_keyset_age_seconds"), Some(60));
    edge.wait(100);
    edge.tick();
    assert_eq!(edge.gauge("keystile_keyset_age_seconds"), Some(160));
    store.issued_at += 3600;
    edge.push(store.change(|_| {}));
    assert_eq!(
        edge.gauge("keystile_keyset_age_seconds"),
        Some(0),
        "issued in the future: clocks differ"
    );
}

/// A worker may stand still for longer than its heartbeat is waited for (a debugger, a huge push). If its number is
/// somebody else's by then, it must not share it: two VMs behind one gauge prove nothing.
#[test]
fn a_vm_that_was_late_does_not_share_the_number_that_another_claimed() {
    let process = Process::new();
    let mut late = Edge::beside(&process, &store(7));
    late.tick();
    wait(&process, 60);
    let mut other = Edge::beside(&process, &store(7));
    other.tick();
    late.tick();
    other.push(&store(8));
    let shown = versions(&process);
    assert_eq!(shown.len(), 2, "two VMs live, and {shown:?} is shown");
}

#[test]
fn late_ticks_of_all_vms_leave_every_gauge_right() {
    let process = Process::new();
    let mut vms: Vec<Edge> = (0..3).map(|_| Edge::beside(&process, &store(7))).collect();
    vms.iter_mut().for_each(Edge::tick);
    wait(&process, 3600);
    vms.iter_mut().rev().for_each(Edge::tick);
    assert_eq!(versions(&process), [7, 7, 7]);
}

#[test]
fn ticks_survive_foreign_bytes_in_shared_data() {
    let process = Process::new();
    let mut edge = Edge::beside(&process, &store(7));
    for key in ["keystile/vm/0", "keystile/vm/1"] {
        process
            .borrow_mut()
            .set_shared_data(key.as_bytes(), b"?", 0);
    }
    edge.tick();
    edge.tick();
    assert_eq!(versions(&process)[0], 7);
}
