//! A program on a host: started, watched, stopped, killed.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// Where a program runs.
#[derive(Clone)]
pub struct Host {
    pub name: String,
    pub address: Ipv4Addr,
    /// The network namespace that is its machine; none for this one.
    pub namespace: Option<String>,
}

impl Host {
    /// This machine.
    pub fn here(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: Ipv4Addr::LOCALHOST,
            namespace: None,
        }
    }

    /// To run a program there. It ends with the thread that starts it, which is the main one; and it
    /// becomes the program, so that the process id is the program's.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(namespace) = &self.namespace {
            command.args(["ip", "netns", "exec", namespace]);
        }
        command.arg(program);
        command
    }
}

/// A program that can be started again.
pub struct Program {
    pub name: String,
    log: PathBuf,
    make: Box<dyn Fn() -> Command + Send + Sync>,
    child: Mutex<Option<Child>>,
}

impl Program {
    /// Starts it. What it says on stderr is appended to a log.
    pub fn start(
        name: &str,
        log: PathBuf,
        make: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Self {
        let program = Self {
            name: name.to_owned(),
            log,
            make: Box::new(make),
            child: Mutex::new(None),
        };
        program.restart();
        program
    }

    /// Starts it again, as what watches over it would.
    pub fn restart(&self) {
        if self.pid().is_some() && !self.has_ended() {
            return;
        }
        let log = File::options().create(true).append(true).open(&self.log);
        let mut command = (self.make)();
        command
            .stdin(Stdio::null())
            // Envoy writes a line about each request.
            .stdout(Stdio::null())
            .stderr(log.unwrap());
        let child = command.spawn().unwrap();
        *self.child.lock().unwrap() = Some(child);
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap().as_ref().map(Child::id)
    }

    /// Ends it at once, as a power failure would.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap();
        let child = child.as_mut();
        child.is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }

    pub fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            signal(pid, name);
        }
    }

    /// The end of its log.
    pub fn said(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a process a signal.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}
