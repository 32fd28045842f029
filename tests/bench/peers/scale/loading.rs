//! Pushes: how long they take, and who stands still for it.

use std::path::{Path, PathBuf};

use super::keys::{POLICY, made};
use super::watch::{self, Pushed};
use super::{MILLION, WASM};
use crate::cases::Running;
use crate::envoy::{self, Edge};
use crate::fixture::Keys;
use crate::plans::counted;
use crate::report::Report;
use crate::sheet::{Figure, Sheet};
use crate::support::EcdsFile;
use crate::targets::Target;

/// The workers of an Envoy that is pushed to.
const PUSHED: usize = 2;

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
