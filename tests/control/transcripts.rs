//! Runs the sessions in `transcripts/`: what stands after `$ ` is typed, the rest is what
//! must be printed, `! ` in front of what goes to stderr, `? 1` for the exit code.
//!
//! What differs from run to run (keys, ids, times) is put into brackets: `[key]`, `[id1]`.
//! The n-th id is `$id1` in later commands. `BLESS=1 cargo test --test control` writes the
//! sessions anew: read the difference before you commit it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::server::{Server, token};
use crate::support::{Home, KEYSTILECTL, text};
use keystile_tests::database::Database;

macro_rules! sessions {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            session(concat!(stringify!($name), ".txt"), Way::Store);
        }
    )*};
}

/// The same words through a server, but for what works on the store itself.
macro_rules! served {
    ($($name:ident)*) => {
        mod served {$(
            #[test]
            fn $name() {
                super::session(concat!(stringify!($name), ".txt"), super::Way::Server);
            }
        )*}
    };
}

/// What a server alone shows: who asked it, from where, and in vain.
macro_rules! through_a_server {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            session(concat!(stringify!($name), ".txt"), Way::ServerAlone);
        }
    )*};
}

sessions! {
    a_first_round
    clients
    keys
    keys_that_are_refused
    refused_as_json
    certificates
    rotation
    handing_over
    import
    policy
    policy_mistakes
    keyset
    push
    signing_keys
    render
    explain
    doctor
    homes_and_master_keys
    tokens
    webhooks
    audit
    backups
    master_key
    usage
}

served! {
    clients
    keys
    keys_that_are_refused
    refused_as_json
    certificates
    rotation
    handing_over
    import
    policy
    keyset
    signing_keys
    explain
    usage
}

through_a_server! {
    tokens_of_a_server
    audit_of_a_server
}

/// The same words with the store in PostgreSQL, but for what works on its file.
macro_rules! in_a_database {
    ($($name:ident)*) => {
        mod in_a_database {$(
            #[test]
            fn $name() {
                super::session(concat!(stringify!($name), ".txt"), super::Way::Database);
            }
        )*}
    };
}

in_a_database! {
    clients
    keys
    keys_that_are_refused
    certificates
    rotation
    handing_over
    import
    policy
    policy_mistakes
    keyset
    push
    signing_keys
    render
    explain
    tokens
    audit
    usage
}

/// How a session reaches its store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Store,
    Database,
    Server,
    ServerAlone,
}

/// Stands in the place of `keystilectl` in sessions through a server. The store is there
/// before the server is, and what works on the store itself does.
const SHIM: &str = r#"#!/bin/sh
case "$1 $2" in
  init*) exit 0 ;;
  push*|render*|"signing-key export"|"keyset verify"|"keyset inspect"|"keyset diff")
    unset KEYSTILE_SERVER ;;
  "key rotate") case "$*" in *--all*) unset KEYSTILE_SERVER ;; esac ;;
esac
exec "$KEYSTILECTL" "$@"
"#;

#[test]
fn every_session_is_run() {
    let here = include_str!("transcripts.rs");
    for file in fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".txt").unwrap();
        assert!(
            here.contains(&format!("\n    {name}\n")),
            "`{name}` is not run"
        );
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/control/transcripts")
}

fn session(name: &str, way: Way) {
    let file = folder().join(name);
    let wanted = fs::read_to_string(&file).unwrap();
    let home = match way {
        Way::Database => Home::empty().in_database(&Database::shared().fresh()),
        _ => Home::empty(),
    };
    let is_served = matches!(way, Way::Server | Way::ServerAlone);
    let _server = is_served.then(|| serve(&home));
    let mut ids = Ids::default();
    let mut found = String::new();
    for part in parts(&wanted) {
        match part {
            Part::Comment(lines) => found.push_str(lines),
            Part::Command(line) => {
                found.push_str(&format!("$ {line}\n"));
                found.push_str(&run(&home, &mut ids, line));
            }
        }
    }
    if matches!(way, Way::Server) {
        for it in ["it", "them", "that"] {
            let done = format!("the server sends {it} to its Envoys now");
            found = found.replace(&done, &format!("`keystilectl push` puts {it} in force"));
        }
    }
    if matches!(way, Way::Store | Way::ServerAlone) && std::env::var_os("BLESS").is_some() {
        fs::write(file, found).unwrap();
        return;
    }
    for (n, (want, got)) in wanted.lines().zip(found.lines()).enumerate() {
        assert_eq!(want, got, "{name}:{}: the whole session:\n{found}", n + 1);
    }
    assert_eq!(wanted, found, "{name}");
}

fn serve(home: &Home) -> Server {
    home.ok(&["init"]);
    fs::create_dir(home.path("bin")).unwrap();
    let shim = home.path("bin/keystilectl");
    fs::write(&shim, SHIM).unwrap();
    fs::set_permissions(shim, fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server::start(home, &[]);
    fs::write(home.path("bin/token"), token(home, "owner")).unwrap();
    fs::write(home.path("bin/url"), server.url()).unwrap();
    server
}

enum Part<'t> {
    /// Blank lines and lines with `#`, as they are.
    Comment(&'t str),
    Command(&'t str),
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut output = false;
    text.split_inclusive('\n').filter_map(move |line| {
        if let Some(command) = line.strip_prefix("$ ") {
            output = true;
            return Some(Part::Command(command.trim_end()));
        }
        let comment = line.trim().is_empty() || line.starts_with("# ");
        output &= !line.starts_with("# ");
        // A blank line ends the output that stands in the file; its own are `|`.
        output &= !line.trim().is_empty();
        (comment && !output).then_some(Part::Comment(line))
    })
}

fn run(home: &Home, ids: &mut Ids, line: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    home.prepare(&mut command);
    if let Ok(token) = fs::read_to_string(home.path("bin/token")) {
        let path = format!(
            "{}:{}",
            home.path("bin").display(),
            std::env::var("PATH").unwrap()
        );
        command
            .env("PATH", path)
            .env("KEYSTILECTL", KEYSTILECTL)
            .env("KEYSTILE_TOKEN", token)
            .env(
                "KEYSTILE_SERVER",
                fs::read_to_string(home.path("bin/url")).unwrap(),
            );
    }
    for (id, n) in &ids.0 {
        command.env(format!("id{n}"), id);
    }
    let output = command.output().unwrap();
    let mut out = String::new();
    for line in text(&output.stdout).lines() {
        out.push_str(match line {
            "" => "|",
            l if l.starts_with("# ") || l.starts_with("$ ") => "| ",
            _ => "",
        });
        out.push_str(line);
        out.push('\n');
    }
    for line in text(&output.stderr).lines() {
        out.push_str(&format!("! {line}\n"));
    }
    match output.status.code() {
        Some(0) => {}
        code => out.push_str(&format!("? {}\n", code.unwrap_or(-1))),
    }
    ids.steady(&out)
}

/// Id, secret and checksum of a key.
fn key_body(word: &str) -> Option<&str> {
    let body = word.rsplit('_').next()?;
    (word.matches('_').count() == 2 && body.len() == 59).then_some(body)
}

/// Ids of keys, by the order in which they were seen.
#[derive(Default)]
struct Ids(BTreeMap<String, usize>);

impl Ids {
    /// Text without what differs from run to run.
    fn steady(&mut self, text: &str) -> String {
        let inside = |c: char| c.is_ascii_alphanumeric() || "_-:.".contains(c);
        // An id may stand before the key that it is known by.
        for token in text.split(|c| !inside(c)) {
            if let Some(body) = key_body(token) {
                self.learn(&body[..10]);
            }
        }
        let mut out = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
            if end == 0 {
                let c = rest.chars().next().unwrap();
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
            let (token, after) = rest.split_at(end);
            // A sentence's colon or full stop is not the word's.
            let word = token.trim_end_matches([':', '.']);
            out.push_str(&self.word(word, &out, after));
            out.push_str(&token[word.len()..]);
            rest = after;
        }
        out
    }

    fn word(&mut self, word: &str, before: &str, after: &str) -> String {
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_hexdigit());
        if key_body(word).is_some() {
            return "[key]".to_owned();
        }
        let is_id = word.len() == 10 && word.bytes().all(|b| b.is_ascii_alphanumeric());
        let line = before.rsplit('\n').next().unwrap_or_default();
        let told = before.ends_with("\"id\": \"")
            || (line.starts_with("id ") && line.trim_end() == "id")
            || line == "! error: key ";
        if is_id && told {
            self.learn(word);
        }
        if let Some(n) = self.0.get(word) {
            return format!("[id{n}]");
        }
        let date = word.len() >= 10 && word.is_char_boundary(10) && {
            let shape: String = word[..10]
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            shape == "0000-00-00" && ("2025".."2090").contains(&&word[..4])
        };
        match word {
            w if date && w.contains('T') => "[time]".to_owned(),
            w if date && w.len() == 10 => "[date]".to_owned(),
            w if w.len() == 5 && before.ends_with("[date] ") => "[hh:mm]".to_owned(),
            w if digits(w) && w.len() == 13 => "[version]".to_owned(),
            w if w.len() == 16 && w.starts_with('k') && hex(&w[1..9], 8) => "[kid]".to_owned(),
            w if hex(w, 64) => "[hash]".to_owned(),
            w if hex(w, 16) => "[hex]".to_owned(),
            w if digits(w) && after.starts_with(" bytes") => "[n]".to_owned(),
            w if digits(w) && before.ends_with("\"bytes\": ") => "[n]".to_owned(),
            w if before.ends_with("(in ") || before.ends_with("  in ") => {
                format!("[{}]", w.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            "now" if before.ends_with('(') => "[s] ago".to_owned(),
            _ if before.ends_with('(') && after.starts_with(" ago") => "[s]".to_owned(),
            w => match w.split_once(':') {
                Some((kid, secret)) if secret.len() == 43 && kid.len() == 16 => {
                    "[kid]:[secret]".to_owned()
                }
                Some((kid, key)) if key.starts_with("ed25519:") && kid.len() == 16 => {
                    "[kid]:ed25519:[public]".to_owned()
                }
                Some((seq, link)) if digits(seq) && hex(link, 64) => format!("{seq}:[hash]"),
                _ => w.to_owned(),
            },
        }
    }

    fn learn(&mut self, id: &str) {
        let next = self.0.len() + 1;
        self.0.entry(id.to_owned()).or_insert(next);
    }
}
