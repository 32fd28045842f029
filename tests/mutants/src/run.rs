//! Runs the built tests with one mutant after the other.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;

use crate::reach::Reach;
use crate::{Result, Verdict};

/// Tests that take longer run when the others have not noticed a mutant.
const QUICK_SECONDS: f64 = 0.2;

/// The built tests.
pub struct Suite {
    program: PathBuf,
    folder: PathBuf,
    /// Each test, and its seconds on the processor without a mutant.
    pub seconds: BTreeMap<String, f64>,
}

/// A line of the test harness.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    event: String,
    #[serde(default)]
    name: String,
    exec_time: Option<f64>,
}

impl Suite {
    /// Runs all tests without a mutant; they have to pass.
    pub fn new(program: PathBuf, core: &Path) -> Result<Self> {
        let folder = core.join("src/core");
        let mut suite = Self {
            program,
            folder,
            seconds: BTreeMap::new(),
        };
        let output = suite
            .command("\"$@\"; status=$?; times >&2; exit $status")
            .args(["--report-time", "--format", "json"])
            .output()?;
        if !output.status.success() {
            let printed = String::from_utf8_lossy(&output.stdout);
            return Err(format!("tests fail without any mutant: {printed}").into());
        }
        for line in String::from_utf8(output.stdout)?.lines() {
            let Line {
                event,
                name,
                exec_time,
            } = serde_json::from_str(line)?;
            if let ("ok", Some(seconds)) = (event.as_str(), exec_time) {
                suite.seconds.insert(name, seconds);
            }
        }
        // Of these, only a part was spent on the processor, less on a busy machine.
        let total: f64 = suite.seconds.values().sum();
        let spent = processor_seconds(&String::from_utf8_lossy(&output.stderr))
            .ok_or("the shell does not say how long the tests took")?;
        for seconds in suite.seconds.values_mut() {
            *seconds *= (spent / total).min(1.0);
        }
        Ok(suite)
    }

    /// Lets the shell run the tests by `script`; its arguments are the program and what comes with it.
    /// Property tests take the same cases each time, and look for no simpler ones.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&self.program);
        command.args(["-Zunstable-options", "--fail-fast", "--test-threads", "1"]);
        command.current_dir(&self.folder).stdin(Stdio::null());
        // The compiler does not see it: it allows unstable options of the harness.
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUST_BACKTRACE", "0");
        command
            .env("PROPTEST_RNG_SEED", "13")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0");
        command
    }

    /// What some of the tests say to a mutant.
    fn try_with(&self, number: usize, tests: &[&str]) -> Result<Verdict> {
        let expected: f64 = tests.iter().map(|t| self.seconds[*t]).sum();
        // Of the processor's time, so that a busy machine makes no difference; of the clock's, much
        // later, in case nothing runs at all. No file may grow: a failed property test would
        // save its case, and the next mutant be tried with it.
        let seconds = 5 + (expected * 4.0) as u64;
        let script = format!(
            "ulimit -t {seconds}; ulimit -v 8388608; ulimit -f 0; exec timeout {} \"$@\"",
            seconds * 20
        );
        let status = self
            .command(&script)
            .arg("--exact")
            .args(tests)
            .env("MUTANT", number.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(verdict(status))
    }

    fn verdict(&self, number: usize, reach: &Reach) -> Result<Verdict> {
        let tests = reach.tests(number, self);
        let (quick, slow): (Vec<&str>, Vec<&str>) = tests
            .iter()
            .partition(|t| self.seconds[**t] < QUICK_SECONDS);
        for tests in [quick, slow] {
            if !tests.is_empty() {
                let verdict = self.try_with(number, &tests)?;
                if verdict != Verdict::Missed {
                    return Ok(verdict);
                }
            }
        }
        Ok(Verdict::Missed)
    }
}

/// What the children took, in what the shell's `times` prints last: `0m3.210s 0m0.050s`.
fn processor_seconds(printed: &str) -> Option<f64> {
    let of_children = printed.lines().last()?.split_whitespace();
    let seconds = of_children.map(|time| {
        let (minutes, seconds) = time.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    });
    seconds.sum()
}

fn verdict(status: ExitStatus) -> Verdict {
    // SIGKILL or SIGXCPU, for its time on the processor; 124 is what `timeout` says.
    match (status.code(), status.signal()) {
        (Some(0), _) => Verdict::Missed,
        (Some(124 | 137 | 152), _) | (_, Some(9 | 24)) => Verdict::Timeout,
        _ => Verdict::Caught,
    }
}

/// Tries all of `numbers`, several at a time.
pub fn all(
    suite: &Suite,
    reach: &Reach,
    numbers: &[usize],
    jobs: usize,
) -> Result<Vec<(usize, Verdict)>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let work = || -> std::result::Result<(), String> {
            while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                let verdict = suite.verdict(*number, reach).map_err(|e| e.to_string())?;
                done.lock()
                    .map_err(|e| e.to_string())?
                    .push((*number, verdict));
            }
            Ok(())
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|w| w.join().map_err(|_| "a worker panicked")?)
    })?;
    Ok(done.into_inner()?)
}
