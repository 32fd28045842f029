//! Programs that end with the one that started them, however that ends.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getppid};
use tempfile::TempDir;

use keystile_model::error::{Code, Error, Result, refuse};

/// A program by its file, ready to be given arguments and started. It inherits none of our secrets,
/// and signals of the terminal do not reach it.
pub fn program(file: &Path) -> Command {
    let mut command = crate::shell("exec \"$0\" \"$@\"");
    command.arg(file).process_group(0);
    command
}

/// Turns this process into another program, which gets SIGTERM when the process `parent` ends.
///
/// # Errors
/// If `parent` has ended already, or the program cannot be started.
pub fn become_program(parent: u32, file: &Path, arguments: &[OsString]) -> Error {
    let cannot = |why: &dyn std::fmt::Display| {
        refuse(
            Code::SystemFailed,
            format_args!("`{}` cannot be started ({why})", file.display()),
            "name a program that can be run",
        )
    };
    // The one that started it holds some back.
    if let Err(e) = SigSet::all().thread_unblock() {
        return cannot(&e);
    }
    if let Err(e) = prctl::set_pdeathsig(Signal::SIGTERM) {
        return cannot(&e);
    }
    // It may have ended before it could be waited for.
    if u32::try_from(getppid().as_raw()).ok() != Some(parent) {
        return cannot(&"what started it has ended");
    }
    cannot(&Command::new(file).args(arguments).exec())
}

/// Holds SIGINT and SIGTERM back until [`take_signals`], so that this process does not end while
/// nothing would clean up; SIGHUP, which a terminal sends that is closed, becomes SIGTERM. To be called
/// before there are other threads, which inherit it.
///
/// # Errors
/// If the system refuses.
pub fn hold_signals() -> Result<()> {
    let cannot = |e: nix::Error| {
        refuse(
            Code::SystemFailed,
            format_args!("signals cannot be held back ({e})"),
            "try again",
        )
    };
    held().thread_block().map_err(cannot)?;
    let hangup = SigSet::from(Signal::SIGHUP);
    hangup.thread_block().map_err(cannot)?;
    std::thread::spawn(move || {
        while hangup.wait().is_ok() {
            end_self();
        }
    });
    Ok(())
}

/// Takes those that were held back, and all that follow.
pub fn take_signals() {
    // Without it, the process would not end: it can be killed.
    let _ = held().thread_unblock();
}

fn held() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM].into_iter().collect()
}

/// Asks a program to end, and kills it if it has not ended in time.
pub fn end(child: &mut Child, patience: Duration) {
    const STEP: Duration = Duration::from_millis(20);
    // Its number may be that of another process.
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let mut waited = Duration::ZERO;
    while waited < patience {
        match child.try_wait() {
            Ok(Some(_)) => return,
            Ok(None) => std::thread::sleep(STEP),
            Err(_) => break,
        }
        waited = waited.saturating_add(STEP);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Ends this process as SIGTERM does.
pub fn end_self() {
    let _ = kill(Pid::this(), Signal::SIGTERM);
}

/// This address if nothing listens there and its port is not taken otherwise; else another port.
///
/// # Errors
/// If no port is free.
pub fn free(address: SocketAddr, taken: &[u16]) -> Result<SocketAddr> {
    let is_free = |at: &SocketAddr| !taken.contains(&at.port());
    let bind = |at: SocketAddr| TcpListener::bind(at).and_then(|l| l.local_addr());
    let mut found = bind(address).ok().filter(is_free).map(Ok);
    while found.is_none() {
        let other = bind((address.ip(), 0).into());
        found = Some(other).filter(|other| other.as_ref().map_or(true, is_free));
    }
    found.unwrap_or(Ok(address)).map_err(|e| {
        refuse(
            Code::SystemFailed,
            format_args!("no port of {} is free ({e})", address.ip()),
            "end what uses them",
        )
    })
}

/// The file of a program that a shell would find.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let files = std::env::split_paths(&folders).map(|folder| folder.join(name));
    files
        .filter(|file| file.is_file())
        .find_map(|file| file.canonicalize().ok())
}

/// A new folder that is removed when this is dropped.
pub struct TemporaryFolder(TempDir);

impl TemporaryFolder {
    /// One whose name begins so, where the system keeps such folders.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(prefix: &str) -> Result<Self> {
        TempDir::with_prefix(prefix).map(Self).map_err(|e| {
            refuse(
                Code::FileUnwritable,
                format_args!("no folder can be made for temporary files ({e})"),
                "name one with TMPDIR",
            )
        })
    }

    /// It.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
