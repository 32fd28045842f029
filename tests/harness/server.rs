//! The real server, on ports of its own.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Home, word};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server of a store; it is killed with its test.
pub struct Server {
    child: Child,
    /// `127.0.0.1:port` of the API.
    pub address: String,
    /// `127.0.0.1:port` of discovery.
    pub discovery: String,
}

impl Server {
    /// Starts it on a free port.
    pub fn start(home: &Home, args: &[&str]) -> Self {
        let addresses = home.path("addresses");
        let _ = fs::remove_file(&addresses);
        let mut all = vec!["serve", "--discovery", "127.0.0.1:0"];
        if !args.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        all.extend(["--address-file", "addresses"]);
        all.extend(args);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(home.path("serve.log"))
            .unwrap();
        let mut child = home
            .command(&all)
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        let (address, discovery) = loop {
            let written = fs::read_to_string(&addresses).unwrap_or_default();
            let of = |name| written.lines().find_map(|l| l.strip_prefix(name));
            if let (Some(api), Some(discovery)) = (of("api "), of("discovery ")) {
                break (api.to_owned(), discovery.to_owned());
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("serve ended ({status}): {}", log_of(home));
            }
            assert!(began.elapsed() < PATIENCE, "serve does not listen");
            std::thread::sleep(Duration::from_millis(10));
        };
        Self {
            child,
            address,
            discovery,
        }
    }

    /// In clear.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let mut kill = std::process::Command::new("kill");
        kill.args(["-s", name, &self.pid().to_string()]);
        assert!(kill.status().unwrap().success());
    }

    /// Kills it, and waits until it has let go of its store's lock.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has; whether it did so in good order.
    pub fn stop(mut self) -> bool {
        self.signal("TERM");
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(began.elapsed() < PATIENCE, "serve does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the servers of a store have written so far.
pub fn log_of(home: &Home) -> String {
    fs::read_to_string(home.path("serve.log")).unwrap_or_default()
}

/// A token of a role, made on the store itself.
pub fn token(home: &Home, role: &str) -> String {
    word(
        &home.json(&["token", "create", role, "--role", role]),
        "token",
    )
}
