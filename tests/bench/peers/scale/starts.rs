//! Starts: how long until the first 200, and how much memory, of both shells.

use std::path::Path;

use keystile_render::ecds::EcdsPush;
use tokio::runtime::Runtime;

use super::keys::{POLICY, made};
use super::watch;
use super::{MILLION, one_each, target};
use crate::builds::Shell;
use crate::envoy::{self, Edge};
use crate::fixture::Keys;
use crate::plans::counted;
use crate::report::Report;
use crate::sheet::{Figure, Sheet};
use crate::tables::until_open;
use crate::targets::Target;

/// How many workers memory is measured with; the slope between the first and the last is what a
/// worker takes.
const WORKERS: [usize; 3] = [1, 2, 4];

/// Start to first 200, and memory.
pub fn starts(
    runtime: &Runtime,
    shells: &[Shell],
    (sizes, times): (&[usize], usize),
    work: &Path,
    report: &mut Report,
) {
    let mut sheet = Sheet::new(
        "Start and memory of Envoys with Keystile",
        "From a `.pb` file that is there at the start. With one key a start is what it costs to begin with: Envoy itself, and V8 compiling the filter. Memory a key is that beyond the same Envoy with one key; a worker's is the slope from 1 to 4 workers. The rest the process has once: the VM of the main thread, what Envoy keeps of the configuration, and what it allocated on the way and has free again. A native module is loaded once for all workers, and has no VM.",
        &[
            "keys",
            "file, MB",
            "first 200, ms",
            "CPU till then, ms",
            "linear memory of a VM, MB",
            "bytes a key in a VM",
            "resident with 1 worker, MB",
            "with 2, MB",
            "with 4, MB",
            "bytes a key and worker",
            "bytes a key beside, process",
            "of it allocated by Envoy",
        ],
    );
    for shell in shells {
        let least = resident(runtime, *shell, 1, times, work);
        let mut row = least.row();
        // It is what others are held against.
        row.insert(4, Figure::None);
        row.extend([Figure::None; 3]);
        sheet.row(format!("{}, {}", counted(1), shell.name()), row);
        first_answer(*shell, 1, &least, report);
        for &size in sizes {
            let found = resident(runtime, *shell, size, times, work);
            beyond(*shell, size, (&least, &found), &mut sheet, report);
        }
    }
    report.chart(&sheet, 2, "scale-start");
    report.sheet(sheet);
}

/// What this many keys take beyond one.
fn beyond(
    shell: Shell,
    size: usize,
    (least, found): (&Memory, &Memory),
    sheet: &mut Sheet,
    report: &mut Report,
) {
    let last = WORKERS.len() - 1;
    let beyond = |n: usize| found.resident[n] - least.resident[n];
    let keys = size as f64;
    let each = (beyond(last) - beyond(0)) / (WORKERS[last] - WORKERS[0]) as f64;
    let in_vm = found.linear - least.linear;
    let mut row = found.row();
    row.insert(4, Figure::Difference(in_vm / keys));
    row.push(Figure::Difference(each / keys));
    row.push(Figure::Difference((beyond(0) - each) / keys));
    let allocated = found.allocated - least.allocated;
    row.push(Figure::Difference(allocated / keys));
    first_answer(shell, size, found, report);
    if size == MILLION {
        let what = format!("bytes a key and worker, 1 M keys, {}", shell.name());
        report.target(Target::new(what, 64.0, each / keys));
    }
    sheet.row(format!("{}, {}", counted(size), shell.name()), row);
}

fn first_answer(shell: Shell, size: usize, found: &Memory, report: &mut Report) {
    let asked = match (size, shell) {
        (1, Shell::Wasm) => 200.0,
        (1, Shell::Module) => 60.0,
        (MILLION, Shell::Wasm) => 450.0,
        (MILLION, Shell::Module) => 350.0,
        _ => return,
    };
    let measured = Figure::of(found.first_200_ms.clone()).middle();
    let what = format!("first 200, {} key, {}, ms", counted(size), shell.name());
    report.target(Target::new(what, asked, measured.unwrap_or(f64::NAN)));
}

struct Memory {
    file: f64,
    first_200_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
    linear: f64,
    allocated: f64,
    /// Of each number of [`WORKERS`].
    resident: Vec<f64>,
}

impl Memory {
    /// What was measured, as it is: file, first 200, CPU till then, linear memory, resident.
    fn row(&self) -> Vec<Figure> {
        let mut row = vec![
            Figure::One(self.file / 1e6),
            Figure::of(self.first_200_ms.clone()),
            Figure::of(self.cpu_ms.clone()),
            match self.linear {
                0.0 => Figure::None,
                bytes => Figure::One(bytes / 1e6),
            },
        ];
        row.extend(self.resident.iter().map(|r| Figure::One(r / 1e6)));
        row
    }
}

fn resident(runtime: &Runtime, shell: Shell, size: usize, times: usize, work: &Path) -> Memory {
    let (mut keys, texts) = made(POLICY, size);
    let dir = work.join(format!("starts-{size}-{}", shell.name()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let file = dir.join("base.pb");
    let content = base(shell, &mut keys);
    watch::put(&file, &content);
    let mut memory = Memory {
        file: content.len() as f64,
        first_200_ms: Vec::new(),
        cpu_ms: Vec::new(),
        linear: 0.0,
        allocated: 0.0,
        resident: Vec::new(),
    };
    let some = one_each(&texts[..1]);
    for workers in WORKERS {
        // Whatever else a machine does, it never makes a start quicker.
        let times = if workers == 1 { times } else { 1 };
        for time in 0..times {
            let edge = Edge::new(&dir.join(format!("{workers}-{time}")))
                .workers(workers)
                .signing_keys(&keys.signing_keys());
            let mut running = with_ours(edge, shell, &file).start();
            let to = target(&running, 1);
            until_open(runtime, &mut running, to, &some, "Envoy");
            if workers == 1 {
                let ms = running.launched.elapsed().as_secs_f64() * 1000.0;
                memory.first_200_ms.push(ms);
                memory.cpu_ms.push(running.cpu_ns() as f64 / 1e6);
            }
            if time == 0 {
                if shell == Shell::Wasm {
                    let loads = watch::until_loaded(&running, 0);
                    let kib = loads.iter().map(|l| l.memory_kib).fold(0.0, f64::max);
                    memory.linear = memory.linear.max(kib * 1024.0);
                }
                watch::until_idle(&running.processes[0]);
                // The same whatever the number of workers: VMs are not in it.
                memory.allocated = running.allocated();
                memory.resident.push(running.resident() as f64);
            }
        }
    }
    memory
}

fn with_ours(edge: Edge, shell: Shell, file: &Path) -> Edge {
    match shell {
        Shell::Wasm => edge
            .filter(envoy::discovered("keystile", file))
            .filter(envoy::guard()),
        Shell::Module => edge
            .filter(envoy::discovered_module("keystile", file))
            .modules_in(Path::new(shell.file()).parent()),
    }
}

/// As `keystilectl push` writes it.
fn base(shell: Shell, keys: &mut Keys) -> Vec<u8> {
    let push = EcdsPush {
        name: "keystile",
        wasm: Path::new(shell.file()),
        version_info: "bench".to_owned(),
    };
    push.protobuf(keys.sealed_base())
}
