//! Envoy, as a child that never outlives this process.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::commands::push::{Filter, Shell};
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_render::ecds::{SIGNING_KEYS, module_name};
use keystile_render::envoy::{Bootstrap, HostPort, KeysetSource};
use keystile_system as system;
use keystile_system::child;

/// The Envoy's node id.
const NODE: &str = "dev-1";
/// How long it may take to let the first request in.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it has to end when asked.
const END: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(100);

/// Envoy's program: the one named, the one in PATH, or the newest that `scripts/setup` installed.
pub(super) fn program(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return given
            .canonicalize()
            .ok()
            .filter(|p| p.is_file())
            .ok_or_else(|| {
                refuse(
                    Code::FileUnreadable,
                    format_args!("`{}` is not a program", given.display()),
                    "name Envoy's program with `--envoy`",
                )
            });
    }
    let found = child::in_path("envoy").or_else(installed);
    found.ok_or_else(|| {
        refuse(
            Code::FileUnreadable,
            "there is no Envoy in PATH, and none that `scripts/setup` installed",
            "run `scripts/setup`, or name Envoy's program with `--envoy`",
        )
    })
}

/// In `.tools/envoy-VERSION/envoy/_bin/` of the checkout that this program was built in.
fn installed() -> Option<PathBuf> {
    let built = system::executable_folder();
    let mut checkouts = built.iter().flat_map(|f| f.ancestors().skip(1).take(2));
    checkouts.find_map(|checkout| {
        let tools = fs::read_dir(checkout.join(".tools")).ok()?;
        let names = tools.flatten().map(|entry| entry.path());
        let mut programs: Vec<PathBuf> = names
            .filter(|p| {
                p.file_name()
                    .is_some_and(|n| n.as_encoded_bytes().starts_with(b"envoy-"))
            })
            .map(|p| p.join("envoy/_bin/envoy"))
            .filter(|p| p.is_file())
            .collect();
        programs.sort();
        programs.pop()?.canonicalize().ok()
    })
}

/// Opens a log.
pub(super) fn log_file(path: &Path) -> Result<File> {
    let opened = File::options().create(true).append(true).open(path);
    opened.map_err(|e| {
        refuse(
            Code::FileUnwritable,
            format_args!("`{}` cannot be written ({e})", path.display()),
            "name another folder with `--keep`",
        )
    })
}

/// What an Envoy is started with.
pub(super) struct DevEnvoy<'a> {
    pub(super) program: PathBuf,
    /// For its configuration and its log.
    pub(super) folder: &'a Path,
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) discovery: SocketAddr,
    pub(super) control: SocketAddr,
    pub(super) upstream: HostPort,
    pub(super) filter: &'a Filter,
}

impl DevEnvoy<'_> {
    /// Starts it, from the thread that lives as long as this process.
    pub(super) fn start(self, signing_keys: &str) -> Result<Child> {
        let place = |address: SocketAddr| {
            HostPort::parse(&address.to_string()).map_err(keystile_model::error::defect)
        };
        let module = match self.filter.shell {
            Shell::Module => Some(self.filter.module()?),
            Shell::Wasm => None,
        };
        let config = Bootstrap {
            listen: place(self.listen)?,
            upstream: self.upstream,
            admin: place(self.admin)?,
            source: KeysetSource::Discovery {
                discovery: &place(self.discovery)?,
                control: &place(self.control)?,
                node: NODE,
            },
            module: module.as_deref().and_then(module_name),
        }
        .render()?;
        let file = self.folder.join("envoy.yaml");
        fs::write(&file, config).map_err(|e| cannot(&e))?;
        let itself =
            system::executable().ok_or_else(|| cannot(&"this program's file is unknown"))?;
        let mut command = child::program(&itself);
        command
            .args(["end-with", &process::id().to_string()])
            .arg(self.program);
        command.arg("-c").arg(file);
        // So that several can run on one machine.
        command.args(["--use-dynamic-base-id", "--concurrency", "2"]);
        command.env(SIGNING_KEYS, signing_keys);
        if let Some(module) = &module {
            let beside = module.parent().filter(|p| !p.as_os_str().is_empty());
            let folder = beside
                .map(Path::to_owned)
                .or_else(system::executable_folder);
            command.env(
                "ENVOY_DYNAMIC_MODULES_SEARCH_PATH",
                folder.unwrap_or_default(),
            );
            command.env("KEYSTILE_NODE", NODE);
        }
        command
            .stdin(Stdio::null())
            .stdout(log_file(&self.folder.join("access.log"))?)
            .stderr(log_file(&self.folder.join("envoy.log"))?);
        command.spawn().map_err(|e| cannot(&e))
    }
}

fn cannot(why: &dyn std::fmt::Display) -> Error {
    refuse(
        Code::SystemFailed,
        format_args!("Envoy cannot be started ({why})"),
        "name its program with `--envoy`",
    )
}

/// Looks after Envoy while this process serves.
pub(super) struct Watch {
    child: Arc<Mutex<Child>>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Watch {
    /// Calls `ready` once a request is answered by more than an Envoy without a keyset. If Envoy ends,
    /// or none is, this process ends as well.
    pub(super) fn begin(
        child: Child,
        ask: impl Fn() -> Option<u16> + Send + 'static,
        ready: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        let child = Arc::new(Mutex::new(child));
        let is_over = Arc::new(AtomicBool::new(false));
        let (its, over) = (Arc::clone(&child), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let watched = watch(&its, &over, ask, ready);
            if watched.is_err() {
                child::end_self();
            }
            watched
        });
        Self {
            child,
            is_over,
            thread,
        }
    }

    /// Ends Envoy. Fails if it ended by itself.
    pub(super) fn end(self, folder: &Path) -> Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        let watched = self.thread.join().unwrap_or(Ok(()));
        child::end(
            &mut self.child.lock().unwrap_or_else(PoisonError::into_inner),
            END,
        );
        watched.map_err(|e| {
            let log = fs::read_to_string(folder.join("envoy.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(5).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            match lines.is_empty() {
                true => e,
                false => e.at(format_args!(
                    "Envoy's log ends with:\n{}\n",
                    lines.join("\n")
                )),
            }
        })
    }
}

fn watch(
    child: &Mutex<Child>,
    is_over: &AtomicBool,
    ask: impl Fn() -> Option<u16>,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut ready = Some(ready);
    let mut waited = Duration::ZERO;
    while !is_over.load(Ordering::Relaxed) {
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Some(status)) = child.try_wait() {
            return Err(refuse(
                Code::SystemFailed,
                format_args!("Envoy ended ({status})"),
                "see its log, which `--keep DIR` keeps",
            ));
        }
        drop(child);
        if ready.is_some() {
            // Without a keyset, and while the upstream is not known, it answers 503.
            if ask().is_some_and(|status| status != 503) {
                ready.take().map_or(Ok(()), |ready| ready())?;
            } else if waited >= PATIENCE {
                return Err(refuse(
                    Code::SystemFailed,
                    "Envoy does not answer",
                    "see its log, which `--keep DIR` keeps",
                ));
            }
        }
        thread::sleep(STEP);
        waited = waited.saturating_add(STEP);
    }
    Ok(())
}
