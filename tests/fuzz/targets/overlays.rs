//! Bases and overlays in any order, at two VMs of one process, with restarts: a version in force
//! never goes back, and what a version revoked stays revoked under it and every later one.
#![no_main]

use std::sync::OnceLock;

use keystile_core::keyset::{
    Arrival, Artefact, Base, Built, Content, Holding, Lookup, build_overlay,
};
use keystile_core::key::Prefix;
use keystile_fuzz::{bounded, built, content, key, row, signer, signers};
use libfuzzer_sys::fuzz_target;

const POLICY: &str = r#"{"version":1,"realm":"api","environments":["live"],"plans":{},
  "routes":[{"path":"/{*rest}","scopes":["read"]}]}"#;
const VERSIONS: u64 = 8;
/// Versions that are sent as a base.
const BASES: [u64; 4] = [1, 3, 5, 8];

struct World {
    /// Signed artefacts: version, base, text.
    artefacts: Vec<(u64, u64, String)>,
    keys: Vec<Prefix>,
}

/// Key `n` is revoked in version `n + 1`; the last one never.
fn revoked_at(key: usize) -> u64 {
    key as u64 + 1
}

fn at(version: u64, changed_since: Option<u64>) -> Content {
    let rows = (0..=VERSIONS as usize).filter_map(|n| {
        let mut row = row(&key(n as u8 + 1));
        row.revoked = revoked_at(n) <= version;
        let changed = changed_since.is_none_or(|b| (b + 1..=version).contains(&revoked_at(n)));
        changed.then_some(row)
    });
    Content {
        version,
        ..content(POLICY, rows.collect())
    }
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let sealed = |built: &Built| built.seal(&[signer()], 0);
        let mut artefacts = Vec::new();
        for base in BASES {
            let whole = built(&at(base, None));
            artefacts.push((base, base, sealed(&whole)));
            let named = Base::from_built(&whole).expect("a keyset");
            for version in base..=VERSIONS {
                let overlay = build_overlay(&at(version, Some(base)), &named).expect("it fits");
                artefacts.push((version, base, sealed(&overlay)));
            }
        }
        World {
            artefacts,
            keys: (0..=VERSIONS as u8).map(|n| key(n + 1).digest.prefix()).collect(),
        }
    })
}

#[derive(Default)]
struct Vm {
    holding: Holding,
    /// The newest overlay that ever arrived.
    heard_of: u64,
}

fuzz_target!(|steps: &[u8]| {
    let world = world();
    if steps.len() > 64 {
        return;
    }
    bounded(|| {
        let (mut vms, mut floor) = ([Vm::default(), Vm::default()], 0);
        for step in steps {
            let vm = &mut vms[usize::from(step >> 7)];
            let what = usize::from(step & 0x7f);
            let Some((version, _, text)) = world.artefacts.get(what) else {
                *vm = Vm::default();
                continue;
            };
            take(vm, *version, text, &mut floor);
            judge(world, vm);
        }
    });
});

fn take(vm: &mut Vm, version: u64, text: &str, floor: &mut u64) {
    let before = vm.holding.version();
    let artefact = Artefact::load(&mut text.as_bytes(), &signers(), |signed| {
        vm.holding.make_room(signed, *floor);
    });
    let arrival = vm.holding.take(artefact.ok().expect("it is signed"), *floor);
    vm.heard_of = vm.heard_of.max(version);
    let now = vm.holding.version();
    assert!(now >= before || now == 0, "{before} before {now}");
    if arrival == Arrival::InForce && now != before {
        assert!(now >= *floor, "{now} below {floor}");
    }
    *floor = (*floor).max(now);
}

fn judge(world: &World, vm: &Vm) {
    let Some(in_force) = vm.holding.in_force() else {
        return;
    };
    for (n, prefix) in world.keys.iter().enumerate() {
        let lives = match in_force.lookup(prefix) {
            Lookup::Found(entry) => !entry.revoked,
            Lookup::Unknown => false,
            Lookup::Corrupt => panic!("nothing is corrupt"),
        };
        if revoked_at(n) <= in_force.version() {
            assert!(!lives, "key {n} lives in version {}", in_force.version());
        }
        if revoked_at(n) > vm.heard_of.max(in_force.version()) {
            assert!(lives, "key {n} was never revoked");
        }
    }
}
