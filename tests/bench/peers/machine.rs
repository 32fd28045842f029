//! The machine: which cores servers and client keep to, and what it is.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::thread::available_parallelism;

/// Cores that a process keeps to, as `taskset` of util-linux takes them; `None` for any,
/// also where there is no `taskset`.
#[derive(Clone)]
pub struct Cores(Option<String>);

impl Cores {
    /// Any.
    pub fn all() -> Self {
        let last = count() - 1;
        Self((last > 0).then(|| format!("0-{last}")))
    }

    /// Those of a server under measurement: one for each worker, where the client has one
    /// besides.
    pub fn of_servers(workers: usize) -> Self {
        match workers < count() {
            true => Self(Some(format!("0-{}", workers - 1))),
            false => Self::all(),
        }
    }

    /// The last one, for the client; any if there is but one.
    pub fn of_client() -> Self {
        let last = count() - 1;
        Self((last > 0).then(|| last.to_string()))
    }

    /// To run a program on them.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let (Some(list), Some(taskset)) = (&self.0, taskset()) else {
            return Command::new(program);
        };
        // It becomes the program: the process id is the program's.
        let mut command = Command::new(taskset);
        command.args(["--cpu-list", list]).arg(program);
        command
    }

    /// Moves this process to them.
    pub fn keep_to(&self) {
        if let (Some(list), Some(taskset)) = (&self.0, taskset()) {
            let me = std::process::id().to_string();
            let output = Command::new(taskset)
                .args(["--all-tasks", "--cpu-list", "--pid", list, &me])
                .output();
            assert!(output.is_ok_and(|o| o.status.success()), "taskset {list}");
        }
    }
}

/// How many there are, asked before this process was moved to one of them.
fn count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| available_parallelism().map_or(1, usize::from))
}

/// `taskset`, where it is there and may choose among all cores.
fn taskset() -> Option<&'static PathBuf> {
    static TASKSET: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let program = installed("taskset")?;
        let all = format!("0-{}", count() - 1);
        let output = Command::new(&program)
            .args(["--cpu-list", &all, "true"])
            .output();
        output.ok()?.status.success().then_some(program)
    };
    TASKSET.get_or_init(find).as_ref()
}

/// What it is, and how it was used.
pub fn description() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split(':').nth(1));
    let cores = count();
    let pinned = match (cores > 1, taskset()) {
        (true, Some(_)) => "servers and client on cores of their own",
        (true, None) => "no `taskset`, so nothing is pinned",
        (false, _) => "servers and client share it",
    };
    format!(
        "{}, {cores} core{}, {pinned}",
        model.unwrap_or("?").trim(),
        if cores == 1 { "" } else { "s" }
    )
}

/// Where a program is, if it is there.
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let candidates = folders.into_iter().map(|folder| folder.join(program));
    candidates.into_iter().find(|file| file.exists())
}
