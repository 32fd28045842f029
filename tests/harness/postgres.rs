//! A PostgreSQL of the tests' own, and homes whose store is in it.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A running server; it ends, and its folder goes away, when this is dropped or the tests end.
pub struct Postgres {
    address: String,
    /// The script ends with its input.
    input: Option<ChildStdin>,
    child: Option<Child>,
}

impl Postgres {
    /// Starts one.
    pub fn start() -> Self {
        Self::started(&mut script())
    }

    /// Starts one that also answers on a port, with TLS and the certificate `server.pem` of a
    /// folder; gives the port. The password is `tested`.
    pub fn with_tls(folder: &Path) -> (Self, u16) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port.local_addr().unwrap().port();
        let mut script = script();
        script.env("KEYSTILE_TEST_TLS", folder);
        script.env("KEYSTILE_TEST_PORT", port.to_string());
        (Self::started(&mut script), port)
    }

    fn started(script: &mut Command) -> Self {
        let mut child = script
            .args(["sh", "-c", "echo $KEYSTILE_TEST_STORE; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut address).unwrap();
        assert!(address.starts_with("postgres:"), "PostgreSQL did not start");
        Self {
            address: address.trim().to_owned(),
            input: child.stdin.take(),
            child: Some(child),
        }
    }

    /// The one that the tests of a process share: that of `scripts/postgres`, or one of their own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("KEYSTILE_TEST_STORE") {
            Ok(address) => Self {
                address,
                input: None,
                child: None,
            },
            Err(_) => Self::start(),
        })
    }

    /// The address of a schema that nothing else uses.
    pub fn fresh(&self) -> String {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let n = LAST.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        format!("{}&schema=c{process}_{n}", self.address)
    }

    /// All rows of a schema, as text.
    pub fn dump(&self, schema: &str) -> String {
        let (_, name) = schema.split_once("schema=").unwrap();
        let output = Command::new("pg_dump")
            .args(["--data-only", "--schema", name, &self.address])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            crate::support::text(&output.stderr)
        );
        crate::support::text(&output.stdout)
    }

    /// Runs SQL; gives what it prints, a row a line.
    pub fn sql(&self, schema: &str, sql: &str) -> String {
        let (_, schema) = schema.split_once("schema=").unwrap();
        let output = Command::new("psql")
            .arg(&self.address)
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set",
                "ON_ERROR_STOP=1",
            ])
            .args(["--command", &format!("SET search_path TO {schema}")])
            .args(["--command", sql])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            crate::support::text(&output.stderr)
        );
        crate::support::text(&output.stdout)
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/postgres"))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}
