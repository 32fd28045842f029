//! A server of a case: started, watched in /proc, ended by its process id.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running process.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it, its output in `dir`.
    pub fn start(mut command: Command, dir: &Path, name: &str) -> Self {
        let log = File::create(dir.join(format!("{name}.log"))).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child }
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Nanoseconds of CPU of all its threads and children, so far.
    pub fn cpu_ns(&self) -> u64 {
        family(self.child.id()).into_iter().map(of_process).sum()
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

fn of_process(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    tasks
        .flatten()
        .filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

/// A port that was free a moment ago, for servers that cannot choose one themselves.
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}
