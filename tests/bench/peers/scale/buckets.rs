//! What buckets take that were used once each: they live in Envoy's shared data, which has
//! neither expiry nor deletion.

use std::path::Path;

use tokio::runtime::Runtime;

use super::keys::{POLICY, made};
use super::{one_each, target, watch};
use crate::cases::Running;
use crate::envoy::{self, Edge};
use crate::load::{self, Keys};
use crate::plans::counted;
use crate::report::Report;
use crate::sheet::{Figure, Sheet};
use crate::support::EcdsFile;
use crate::tables::{CONNECTIONS, until_open};

/// One bucket for each key.
const LIMITED: &str = "version: 1
credentials: [{ header: x-api-key }]
routes: [{ path: \"/v1/{*rest}\", limit: { requests: 1000000, per: 1s } }]
";

pub fn measure(runtime: &Runtime, sizes: &[usize], dir: &Path, report: &mut Report) {
    let mut sheet = Sheet::new(
        "Buckets",
        "One worker. Every key is used once, then once more: what Envoy allocates for it, what the process grows by (what was free before is used first), and CPU for each request. Without a limit, the same keys make no bucket. The first use of a key also hashes its page.",
        &[
            "keys",
            "first use allocates, MB",
            "bytes a bucket",
            "second use allocates, MB",
            "without a limit, MB",
            "the process grows, MB",
            "µs, first use",
            "µs, second use",
        ],
    );
    for &size in sizes {
        let without = uses(runtime, POLICY, size, &dir.join(format!("plain-{size}")));
        let with = uses(runtime, LIMITED, size, &dir.join(format!("limit-{size}")));
        let mb = |n: f64| Figure::Difference(n / 1e6);
        let [first, second] = with;
        sheet.row(
            counted(size),
            vec![
                mb(first.allocated),
                Figure::Difference((first.allocated - without[0].allocated) / size as f64),
                mb(second.allocated),
                mb(without[0].allocated),
                mb(first.grew),
                Figure::One(first.us),
                Figure::One(second.us),
            ],
        );
    }
    report.sheet(sheet);
}

struct Use {
    /// Bytes that Envoy allocated.
    allocated: f64,
    /// Resident bytes.
    grew: f64,
    /// CPU for each request.
    us: f64,
}

/// Twice, each key once.
fn uses(runtime: &Runtime, policy: &str, size: usize, dir: &Path) -> [Use; 2] {
    let (mut keys, texts) = made(policy, size);
    std::fs::create_dir_all(dir).expect("a folder");
    let file = dir.join("base.pb");
    let wasm = "target/dist/keystile.wasm";
    watch::put(
        &file,
        &EcdsFile::protobuf("keystile", wasm, keys.sealed_base()),
    );
    let mut running = Edge::new(dir)
        .signing_keys(&keys.signing_keys())
        .filter(envoy::discovered("keystile", &file))
        .filter(envoy::guard())
        .start();
    let one = one_each(&texts[..1]);
    let to = target(&running, 1);
    until_open(runtime, &mut running, to, &one, "the limited Envoy");
    let all = one_each(&texts);
    [(); 2].map(|()| once_each(runtime, &running, &all))
}

fn once_each(runtime: &Runtime, running: &Running, keys: &Keys) -> Use {
    let envoy = &running.processes[0];
    watch::until_idle(envoy);
    let (resident, allocated) = (running.resident(), running.allocated());
    let cpu = running.serving_ns();
    let count = keys.known.len() as u64;
    let to = target(running, CONNECTIONS);
    let tally = runtime.block_on(load::run(to, keys, count));
    assert_eq!(tally.ok, count, "{tally:?}");
    let us = (running.serving_ns() - cpu) as f64 / 1000.0 / count as f64;
    watch::until_idle(envoy);
    Use {
        allocated: running.allocated() - allocated,
        grew: running.resident() as f64 - resident as f64,
        us,
    }
}
