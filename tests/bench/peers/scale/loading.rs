//! Starts and pushes: how long, how much memory, and who stands still for it.

use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;

use super::keys::{POLICY, made};
use super::watch::{self, Pushed};
use super::{MILLION, WASM, one_each, target};
use crate::cases::Running;
use crate::envoy::{self, Edge};
use crate::fixture::Keys;
use crate::report::Report;
use crate::sheet::{Figure, Sheet};
use crate::support::EcdsFile;
use crate::tables::{counted, until_open};
use crate::targets::Target;

/// How many workers memory is measured with; the slope between the first and the last is what a
/// worker takes.
const WORKERS: [usize; 3] = [1, 2, 4];
/// The workers of an Envoy that is pushed to.
const PUSHED: usize = 2;

/// Start to first 200, and memory.
pub fn starts(runtime: &Runtime, sizes: &[usize], times: usize, work: &Path, report: &mut Report) {
    let mut sheet = Sheet::new(
        "Start and memory of Envoys with Keystile",
        "From a `.pb` file that is there at the start. With one key a start is what it costs to begin with: Envoy itself, and V8 compiling the filter. Memory a key is that beyond the same Envoy with one key; a worker's is the slope from 1 to 4 workers. The rest the process has once: the VM of the main thread, what Envoy keeps of the configuration, and what it allocated on the way and has free again.",
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
    let least = resident(runtime, 1, times, work);
    let last = WORKERS.len() - 1;
    let mut row = least.row();
    // It is what others are held against.
    row.insert(4, Figure::None);
    row.extend([Figure::None; 3]);
    sheet.row(counted(1), row);
    for &size in sizes {
        let found = resident(runtime, size, times, work);
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
        if size == MILLION {
            let first = row[1].middle().unwrap_or(f64::NAN);
            report.target(Target::new("first 200 with 1 M keys, ms", 1000.0, first));
            let what = "bytes a key and worker, 1 M keys";
            report.target(Target::new(what, 64.0, each / keys));
        }
        sheet.row(counted(size), row);
    }
    report.chart(&sheet, 2, "scale-start");
    report.sheet(sheet);
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
            Figure::One(self.linear / 1e6),
        ];
        row.extend(self.resident.iter().map(|r| Figure::One(r / 1e6)));
        row
    }
}

fn resident(runtime: &Runtime, size: usize, times: usize, work: &Path) -> Memory {
    let (mut keys, texts) = made(POLICY, size);
    let dir = work.join(format!("starts-{size}"));
    std::fs::create_dir_all(&dir).expect("a folder");
    let file = dir.join("base.pb");
    let content = base(&mut keys);
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
            let mut running = Edge::new(&dir.join(format!("{workers}-{time}")))
                .workers(workers)
                .signing_keys(&keys.signing_keys())
                .filter(envoy::discovered("keystile", &file))
                .filter(envoy::guard())
                .start();
            let to = target(&running, 1);
            until_open(runtime, &mut running, to, &some, "Envoy");
            if workers == 1 {
                let ms = running.launched.elapsed().as_secs_f64() * 1000.0;
                memory.first_200_ms.push(ms);
                memory.cpu_ms.push(running.cpu_ns() as f64 / 1e6);
            }
            if time == 0 {
                let loads = watch::until_loaded(&running, 0);
                let kib = loads.iter().map(|l| l.memory_kib).fold(0.0, f64::max);
                memory.linear = memory.linear.max(kib * 1024.0);
                watch::until_idle(&running.processes[0]);
                // The same whatever the number of workers: VMs are not in it.
                memory.allocated = running.allocated();
                memory.resident.push(running.resident() as f64);
            }
        }
    }
    memory
}

/// Pushes to an Envoy that runs: base and overlay as protobuf, the base as JSON.
pub fn pushes(sizes: &[usize], times: usize, work: &Path, report: &mut Report) {
    let mut sheet = sheet_of_pushes();
    for &size in sizes {
        let (mut keys, _) = made(POLICY, size);
        let dir = work.join(format!("pushes-{size}"));
        std::fs::create_dir_all(&dir).expect("a folder");
        let split = Split::start(&mut keys, &dir);
        let mut add = |report: &mut Report,
                       what: &str,
                       content: &mut dyn FnMut() -> Vec<u8>,
                       running: &Running,
                       file: &Path| {
            let mut bytes = 0;
            let pushed: Vec<Pushed> = (0..times)
                .map(|_| {
                    let content = content();
                    bytes = content.len();
                    watch::push(running, file, &content)
                })
                .collect();
            let all = |f: &dyn Fn(&Pushed) -> Vec<f64>| pushed.iter().flat_map(f).collect();
            let load = Figure::of(all(&|p| p.worker_load_ms.clone()));
            if size == MILLION {
                targets(report, what, &load);
            }
            sheet.row(
                format!("{} keys, {what}", counted(size)),
                vec![
                    Figure::One(bytes as f64 / 1e6),
                    Figure::of(all(&|p| vec![p.in_force_ms])),
                    load,
                    Figure::of(all(&|p| p.worker_cpu_ms.clone())),
                    Figure::of(all(&|p| vec![p.main_cpu_ms])),
                    Figure::of(all(&|p| vec![p.main_load_ms])),
                ],
            );
        };
        add(
            report,
            "base, .pb",
            &mut || base_of_split(&mut keys),
            &split.running,
            &split.base,
        );
        let _ = keys.issue("one-more");
        add(
            report,
            "overlay, .pb",
            &mut || overlay(&mut keys),
            &split.running,
            &split.overlay,
        );
        drop(split);
        let file = dir.join("ecds.json");
        watch::put(&file, &json(&mut keys));
        let running = started(&keys, &dir.join("json"), &[("keystile", &file)]);
        add(
            report,
            "base, JSON",
            &mut || json(&mut keys),
            &running,
            &file,
        );
    }
    report.chart(&sheet, 2, "scale-push");
    report.sheet(sheet);
}

fn sheet_of_pushes() -> Sheet {
    Sheet::new(
        "Pushes",
        "Two workers, no traffic, files. A worker stands still for its load; the rest of its CPU is Envoy's, with what it clears away later. The main thread serves nothing; it loads twice, once to try.",
        &[
            "what",
            "MB",
            "on the last worker after, ms",
            "a worker's load, ms",
            "a worker's CPU, ms",
            "main thread's CPU, ms",
            "of it loads, ms",
        ],
    )
}

fn targets(report: &mut Report, what: &str, load: &Figure) {
    if let Some(ms) = load.middle() {
        match what {
            "base, .pb" => report.target(Target::new(
                "a worker's stall for a base of 1 M keys, ms",
                30.0,
                ms,
            )),
            "overlay, .pb" => report.target(Target::new(
                "a worker's stall for an overlay over 1 M keys, ms",
                1.0,
                ms,
            )),
            _ => {}
        }
    }
}

/// An Envoy with base and overlay in files of their own.
pub struct Split {
    pub running: Running,
    pub base: PathBuf,
    pub overlay: PathBuf,
}

impl Split {
    pub fn start(keys: &mut Keys, dir: &Path) -> Self {
        let (base_file, overlay_file) = (dir.join("base.pb"), dir.join("overlay.pb"));
        watch::put(&base_file, &base_of_split(keys));
        watch::put(&overlay_file, &overlay(keys));
        let filters = [
            ("keystile-base", base_file.as_path()),
            ("keystile", overlay_file.as_path()),
        ];
        Self {
            running: started(keys, &dir.join("split"), &filters),
            base: base_file,
            overlay: overlay_file,
        }
    }
}

/// An Envoy of two workers that takes its filters from files, the last of which decides; with
/// all of them loaded.
pub fn started(keys: &Keys, dir: &Path, filters: &[(&str, &Path)]) -> Running {
    let mut edge = Edge::new(dir)
        .workers(PUSHED)
        .signing_keys(&keys.signing_keys());
    for (n, (name, file)) in filters.iter().enumerate() {
        let filter = envoy::discovered(name, file);
        edge = edge.filter(match n + 1 < filters.len() {
            true => envoy::disabled(filter),
            false => filter,
        });
    }
    let running = edge.filter(envoy::guard()).start();
    watch::until_loaded(&running, 0);
    watch::until_idle(&running.processes[0]);
    running
}

fn base(keys: &mut Keys) -> Vec<u8> {
    base_named("keystile", keys)
}

/// The same for the disabled filter beside that of the overlay.
pub fn base_of_split(keys: &mut Keys) -> Vec<u8> {
    base_named("keystile-base", keys)
}

fn base_named(name: &str, keys: &mut Keys) -> Vec<u8> {
    EcdsFile::protobuf(name, WASM, keys.sealed_base())
}

pub fn overlay(keys: &mut Keys) -> Vec<u8> {
    EcdsFile::protobuf("keystile", WASM, keys.sealed_overlay())
}

/// All keys as they are, with a StringValue.
pub fn json(keys: &mut Keys) -> Vec<u8> {
    EcdsFile::response(&keys.sealed()).to_string().into_bytes()
}
