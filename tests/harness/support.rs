//! A store in a folder of its own, and the real binary run against it.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The binary.
pub const KEYSTILECTL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/dist/keystilectl");

/// A folder with a store in `home`.
pub struct Home {
    folder: PathBuf,
    /// What is run.
    program: PathBuf,
    /// The address of the store, if it is in a database.
    database: Option<String>,
    /// Removed with it, unless the folder is one that stays.
    _temporary: Option<tempfile::TempDir>,
}

impl Home {
    /// An empty folder.
    pub fn empty() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        Self {
            folder: temporary.path().to_owned(),
            program: PathBuf::from(KEYSTILECTL),
            database: None,
            _temporary: Some(temporary),
        }
    }

    /// A folder that stays, and may hold a store already.
    pub fn kept(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        Self {
            folder: folder.to_owned(),
            program: PathBuf::from(KEYSTILECTL),
            database: None,
            _temporary: None,
        }
    }

    /// Machines with the same store in a database, and a client `acme` in it.
    pub fn several(store: &str, machines: usize) -> Vec<Self> {
        let empty = || Self::empty().in_database(store);
        let all: Vec<Self> = (0..machines).map(|_| empty()).collect();
        let (first, others) = all.split_first().unwrap();
        first.ok(&["init"]);
        first.ok(&["client", "create", "acme", "--plan", "gold"]);
        others.iter().for_each(|other| first.give_key(other));
        all
    }

    /// More machines with the store of one.
    pub fn several_of(first: &Self, machines: usize) -> Vec<Self> {
        let all: Vec<Self> = (0..machines)
            .map(|_| Self::empty().in_database(first.database()))
            .collect();
        all.iter().for_each(|other| first.give_key(other));
        all
    }

    fn give_key(&self, other: &Self) {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(other.path("home"))
            .unwrap();
        let key = "home/master.key";
        std::fs::copy(self.path(key), other.path(key)).unwrap();
    }

    /// Runs another build from now on.
    pub fn uses(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// With a store and a client `acme` in it.
    pub fn new() -> Self {
        let home = Self::empty();
        home.ok(&["init"]);
        home.ok(&["client", "create", "acme", "--plan", "gold"]);
        home
    }

    /// The same, with the store in a database.
    pub fn in_database(self, address: &str) -> Self {
        Self {
            database: Some(address.to_owned()),
            ..self
        }
    }

    /// The address of the store.
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.path("home/store.db")
    }

    /// The binary, not started yet. Nothing of the tester's own environment reaches it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args);
        self.prepare(&mut command);
        command
    }

    /// Sets folder, environment and store of a command.
    pub fn prepare(&self, command: &mut Command) {
        prepare(command, &self.folder);
        if let Some(address) = &self.database {
            command.env("KEYSTILE_STORE", address);
        }
    }

    /// Runs it.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it to a success; gives what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs it to a refusal that comes at once, where it would otherwise go on for ever; gives
    /// what it said.
    pub fn refused_soon(&self, args: &[&str]) -> String {
        let mut command = self.command(args);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let began = std::time::Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > std::time::Duration::from_secs(20) {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{args:?}: it is not refused");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        let output = child.wait_with_output().unwrap();
        let words = text(&output.stderr);
        assert!(!status.success(), "{args:?}: {words}");
        words
    }

    /// Runs it with `--output json`.
    pub fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--output", "json"]].concat();
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    /// Runs it to a refusal; gives its words.
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{args:?}: {}",
            text(&output.stdout)
        );
        text(&output.stderr)
    }

    /// Ids of all keys.
    pub fn ids(&self) -> Vec<String> {
        let keys = self.json(&["key", "list"]);
        let mut ids: Vec<String> = keys
            .as_array()
            .unwrap()
            .iter()
            .map(|k| word(k, "id"))
            .collect();
        ids.sort();
        ids
    }
}

/// Sets folder and environment of a command.
pub fn prepare(command: &mut Command, folder: &Path) {
    let binaries = Path::new(KEYSTILECTL).parent().unwrap();
    let path = format!(
        "{}:{}",
        binaries.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", path)
        .env("KEYSTILE_HOME", "home")
        .stdin(Stdio::null());
}

/// Bytes that should be text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A field of a JSON object that is text.
pub fn word(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no `{field}` in {value}"))
        .to_owned()
}
