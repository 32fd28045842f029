//! A PostgreSQL of the tests' own: one of a test alone, or one that the tests of a process share.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::door::{Door, Place};
use crate::support::text;

/// A cluster; it ends, and its folder goes away, when this is dropped or the tests end.
pub struct Database {
    /// The script, unless another one started it.
    process: Option<Child>,
    address: String,
    folder: PathBuf,
}

impl Database {
    /// Starts one. It answers on a socket in a folder of its own.
    pub fn start() -> Self {
        Self::started(&mut script())
    }

    /// One with a standby that has all that it acknowledges.
    pub fn with_standby() -> Self {
        Self::started(script().env("KEYSTILE_TEST_STANDBY", "1"))
    }

    /// One that also answers on a port, with TLS and the certificate `server.pem` of a folder; gives
    /// the port. The password is `tested`.
    pub fn with_tls(folder: &Path) -> (Self, u16) {
        // None that a connection of another test could get meanwhile.
        let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (first..32_000).find(is_free).unwrap();
        let mut script = script();
        script.env("KEYSTILE_TEST_TLS", folder);
        script.env("KEYSTILE_TEST_PORT", port.to_string());
        (Self::started(&mut script), port)
    }

    /// The one that the tests of a process share: that of `scripts/postgres`, or one of their own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Database> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("KEYSTILE_TEST_STORE") {
            Ok(address) => Self {
                process: None,
                address,
                folder: std::env::var_os("PGHOST").unwrap().into(),
            },
            Err(_) => Self::start(),
        })
    }

    fn started(script: &mut Command) -> Self {
        let mut process = script
            .args([
                "sh",
                "-c",
                "echo \"$KEYSTILE_TEST_STORE $PGHOST\"; exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut address).unwrap();
        let (address, folder) = address
            .trim()
            .split_once(' ')
            .expect("PostgreSQL did not start");
        Self {
            process: Some(process),
            address: address.to_owned(),
            folder: PathBuf::from(folder),
        }
    }

    /// The address of a schema that nothing else uses.
    pub fn fresh(&self) -> String {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let n = LAST.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        format!("{}&schema=c{process}_{n}", self.address)
    }

    /// All rows of the schema that an address names, as text.
    pub fn dump(&self, address: &str) -> String {
        let (_, schema) = address.split_once("schema=").unwrap();
        let args = ["--data-only", "--schema", schema, &self.address];
        let output = Command::new("pg_dump").args(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks it something; gives the words of the answer.
    pub fn ask(&self, sql: &str) -> String {
        self.ask_at("5432", sql)
    }

    fn ask_at(&self, port: &str, sql: &str) -> String {
        let output = Command::new("psql")
            .args(["-U", "keystile", "-d", "keystile", "-p", port, "-Atc", sql])
            .env("PGHOST", &self.folder)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The first server dies, and the standby takes its place.
    pub fn fail_over(&self) {
        let pid = self.pid().to_string();
        let mut kill = Command::new("kill");
        assert!(kill.args(["-s", "QUIT", &pid]).status().unwrap().success());
        assert_eq!(self.ask_at("5433", "SELECT pg_promote()"), "t");
    }

    /// The process that all others of it come from.
    pub fn pid(&self) -> u32 {
        self.pid_in("data").unwrap()
    }

    /// That of the standby.
    pub fn standby_pid(&self) -> Option<u32> {
        self.pid_in("standby")
    }

    fn pid_in(&self, folder: &str) -> Option<u32> {
        let file = self.folder.join(folder).join("postmaster.pid");
        let file = std::fs::read_to_string(file).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// Its socket.
    pub fn socket(&self) -> Place {
        Place::Socket(self.folder.join(".s.PGSQL.5432"))
    }

    /// The standby's.
    pub fn standby_socket(&self) -> Place {
        Place::Socket(self.folder.join(".s.PGSQL.5433"))
    }

    /// Its address behind a door.
    pub fn behind(&self, door: &Door) -> String {
        format!(
            "postgres://keystile@{}/keystile?sslmode=disable",
            door.address()
        )
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The script ends with what it runs, and takes the cluster with it.
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            let _ = process.wait();
        }
    }
}

fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres"))
}
