//! A server of a case: started, watched in /proc, ended by its process id.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// A running process.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it, its output in `dir`.
    pub fn start(mut command: Command, dir: &Path, name: &str) -> Self {
        let path = dir.join(format!("{name}.log"));
        let log = File::create(&path).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log: path }
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Nanoseconds of CPU of all its threads and children, so far.
    pub fn cpu_ns(&self) -> u64 {
        cpu_of(self.child.id())
    }

    /// Nanoseconds of CPU so far of the threads that serve requests: Envoy's workers; of another
    /// program all that it has.
    pub fn serving_ns(&self) -> u64 {
        let mut workers = threads(self.child.id());
        workers.retain(|_, thread| thread.name.starts_with("wrk:worker_"));
        match workers.is_empty() {
            true => self.cpu_ns(),
            false => workers.values().map(|thread| thread.cpu_ns).sum(),
        }
    }

    /// Its threads, by their ids.
    pub fn threads(&self) -> BTreeMap<u32, Thread> {
        threads(self.child.id())
    }

    /// The thread that all others were started from.
    pub fn main_thread(&self) -> u32 {
        self.child.id()
    }

    /// Resident bytes.
    pub fn resident(&self) -> u64 {
        let of = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
            let kb = line.and_then(|l| l.trim().split(' ').next()?.parse::<u64>().ok());
            kb.unwrap_or(0) * 1024
        };
        family(self.child.id()).into_iter().map(of).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for pid in family(self.child.id()).into_iter().skip(1) {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A thread of a process.
pub struct Thread {
    pub name: String,
    /// Nanoseconds of CPU so far.
    pub cpu_ns: u64,
}

/// Nanoseconds of CPU of all threads of a process and its children, so far.
pub fn cpu_of(pid: u32) -> u64 {
    let all = family(pid).into_iter();
    all.flat_map(|pid| threads(pid).into_values())
        .map(|t| t.cpu_ns)
        .sum()
}

/// The process and its children.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    all.extend(
        list.split_whitespace()
            .filter_map(|p| p.parse::<u32>().ok()),
    );
    all
}

fn threads(pid: u32) -> BTreeMap<u32, Thread> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return BTreeMap::new();
    };
    tasks
        .flatten()
        .filter_map(|task| {
            let id = task.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let thread = Thread {
                name: name.trim().to_owned(),
                cpu_ns: text.split(' ').next()?.parse().ok()?,
            };
            Some((id, thread))
        })
        .collect()
}

/// Seconds of CPU of all processes that this one started and that have ended.
pub fn cpu_of_ended() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("what ended processes used");
    let seconds = |t: TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// A port that was free a moment ago, for servers that cannot choose one themselves.
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}
