//! What goes wrong on a machine, and must not cost a key.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Home, KEYSTILECTL, text};

/// A store with a page's worth of everything, closed.
fn filled() -> Home {
    let home = Home::new();
    home.ok(&["key", "issue", "acme", "--scope", "read", "--count", "300"]);
    home
}

#[test]
fn a_store_that_was_cut_off_is_refused_wherever_it_was_cut() {
    let home = filled();
    let whole = fs::read(home.store()).unwrap();
    let steps = 40;
    for n in 0..steps {
        let length = whole.len() * n / steps;
        fs::write(home.store(), &whole[..length]).unwrap();
        let words = home.refused(&["audit", "verify"]);
        assert!(
            words.contains("the store is damaged"),
            "cut at {length}: {words}"
        );
        assert!(
            words.contains("restore the folder from a backup"),
            "cut at {length}: {words}"
        );
        assert_eq!(
            fs::read(home.store()).unwrap().len(),
            length,
            "cut at {length}: left as it is"
        );
    }
    fs::write(home.store(), &whole).unwrap();
    home.ok(&["audit", "verify"]);
}

#[test]
fn a_store_with_one_flipped_bit_is_refused() {
    let home = filled();
    let whole = fs::read(home.store()).unwrap();
    let steps = 60;
    let mut met = 0;
    for n in 0..steps {
        let at = whole.len() * n / steps + n;
        let mut torn = whole.clone();
        torn[at] ^= 1 << (n % 8);
        fs::write(home.store(), &torn).unwrap();
        let words = home.refused(&["audit", "verify"]);
        assert!(
            words.contains("the store is damaged"),
            "flipped at {at}: {words}"
        );
        // A change that meets the damage is refused, and leaves everything as it is; one that
        // does not meet it covers nothing up.
        let output = home.run(&["key", "issue", "acme"]);
        if output.status.success() {
            let words = home.refused(&["audit", "verify"]);
            assert!(
                words.contains("the store is damaged"),
                "flipped at {at}, then written to: {words}"
            );
        } else {
            met += 1;
            assert!(
                text(&output.stderr).contains("the store is damaged"),
                "flipped at {at}: {}",
                text(&output.stderr)
            );
            assert!(fs::read(home.store()).unwrap() == torn);
        }
        let _ = fs::remove_file(home.path("home/store.db-wal"));
        let _ = fs::remove_file(home.path("home/store.db-shm"));
    }
    assert!(met > 0, "no change met the damage");
}

#[test]
fn a_store_that_cannot_be_written_is_refused_with_the_reason() {
    let home = Home::new();
    let key = fs::read_to_string(home.path("home/master.key")).unwrap();
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&home.path(""), 0o755);
    mode(&home.store(), 0o444);
    mode(&home.path("home"), 0o555);
    let mut command = home.command(&["key", "issue", "acme"]);
    command.env("KEYSTILE_MASTER_KEY", key.trim());
    if nix::unistd::geteuid().is_root() {
        // No file is read-only for root.
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert_eq!(
        words,
        "error: home/store.db: the store cannot be written; check owner and mode of the folder and its files, \
         and that the disk is not mounted read-only\n"
    );
    mode(&home.path("home"), 0o755);
}

/// Runs a command with files limited to a number of 512-byte blocks: the same error path
/// as a full disk, without one.
fn limited(home: &Home, blocks: u32, command: &str) -> std::process::Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec keystilectl {command}");
    let mut sh = Command::new("sh");
    sh.args(["-c", &script]);
    crate::support::prepare(&mut sh, &home.path(""));
    sh.output().unwrap()
}

#[test]
fn a_push_that_does_not_fit_leaves_the_file_as_it_was() {
    let home = Home::new();
    let push = "push --ecds-file ecds.json --wasm keystile.wasm";
    home.ok(&push.split(' ').collect::<Vec<_>>());
    let before = fs::read(home.path("ecds.json")).unwrap();
    home.ok(&["key", "issue", "acme", "--count", "2000"]);
    let output = limited(&home, 64, push);
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    let want = "error: `ecds.json` cannot be written (file too large); the file is as it was; \
                free some space and try again";
    assert_eq!(words.lines().last(), Some(want));
    assert!(fs::read(home.path("ecds.json")).unwrap() == before);
    assert_eq!(left_beside(&home), 0, "nothing is left beside");
}

#[test]
fn a_push_to_a_full_disk_leaves_the_file_as_it_was() {
    let home = Home::new();
    fs::create_dir(home.path("disk")).unwrap();
    home.ok(&[
        "push",
        "--ecds-file",
        "small.json",
        "--wasm",
        "keystile.wasm",
    ]);
    let before = fs::read(home.path("small.json")).unwrap();
    home.ok(&["key", "issue", "acme", "--count", "2000"]);
    let script = "mount -t tmpfs -o size=64k tmpfs disk || exit 9
        cp small.json disk/ecds.json
        keystilectl push --ecds-file disk/ecds.json --wasm keystile.wasm 2>words
        echo $? >status; cp disk/ecds.json after; ls -A disk >left";
    // Of its own, so that nothing is left mounted; and without root where that may be.
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if !nix::unistd::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["sh", "-c", script]);
    crate::support::prepare(&mut unshare, &home.path(""));
    let output = unshare.output().unwrap();
    assert!(
        output.status.success(),
        "a small disk cannot be mounted, which takes root or user namespaces: {}",
        text(&output.stderr)
    );
    let read = |name: &str| fs::read_to_string(home.path(name)).unwrap();
    assert_eq!(read("status"), "1\n");
    let want = "error: `disk/ecds.json` cannot be written (no storage space); \
                the file is as it was; free some space and try again";
    assert_eq!(read("words").lines().last(), Some(want));
    assert!(fs::read(home.path("after")).unwrap() == before);
    assert_eq!(read("left"), "ecds.json\n", "nothing is left beside");
}

fn left_beside(home: &Home) -> usize {
    fs::read_dir(home.path(""))
        .unwrap()
        .filter(|f| {
            f.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with(".keystile-")
        })
        .count()
}

#[test]
fn keys_that_do_not_fit_on_the_disk_are_not_issued() {
    let home = filled();
    let before = home.ids();
    let output = limited(&home, 1024, "key issue acme --count 5000");
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(
        words.contains("the disk under the store does not work properly"),
        "{words}"
    );
    assert!(
        words.contains("nothing was changed; free some space"),
        "{words}"
    );
    assert!(
        output.stdout.is_empty(),
        "no key is shown that is not stored"
    );
    assert!(home.ids() == before);
    home.ok(&["audit", "verify"]);
}

#[test]
fn a_key_that_cannot_be_shown_is_named() {
    let home = Home::new();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = home
        .command(&["key", "issue", "acme"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    let ids = home.ids();
    assert!(
        words.starts_with("error: 1 key issued but not shown: the output cannot be written"),
        "{words}"
    );
    assert!(
        words.contains(&format!("(the first is {})", ids[0])),
        "{words}"
    );
}

#[test]
fn killed_half_way_a_bulk_issue_leaves_all_keys_or_none() {
    const COUNT: usize = 6000;
    let home = Home::new();
    let mut stored = 0;
    let mut outcomes = [0, 0];
    for delay in [5, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300, 400] {
        let shown = fs::File::create(home.path("shown")).unwrap();
        let mut child = home
            .command(&["key", "issue", "acme", "--count", &COUNT.to_string()])
            .stdout(shown)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        let ids = home.ids();
        let new = ids.len() - stored;
        assert!(new == 0 || new == COUNT, "{new} keys after {delay} ms");
        outcomes[new / COUNT] += 1;
        stored = ids.len();
        for line in fs::read_to_string(home.path("shown")).unwrap().lines() {
            // The last line may have been cut off; an id is its first word.
            if let Some(id) = line.get(..10) {
                assert!(
                    ids.binary_search(&id.to_owned()).is_ok(),
                    "{id} was shown and is not stored"
                );
            }
        }
        home.ok(&["audit", "verify"]);
    }
    assert!(outcomes[0] > 0, "no run was killed half way: {outcomes:?}");
}

#[test]
fn processes_that_issue_at_once_wait_for_each_other_and_lose_nothing() {
    let home = Home::new();
    let bulk: Vec<_> = (0..4)
        .map(|_| {
            home.command(&[
                "key", "issue", "acme", "--count", "1500", "--output", "json",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
        })
        .collect();
    let single: Vec<_> = (0..20)
        .map(|_| {
            home.command(&["key", "issue", "acme", "--count", "1", "--output", "json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut shown = Vec::new();
    for child in bulk.into_iter().chain(single) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let keys: Value = serde_json::from_slice(&output.stdout).unwrap();
        shown.extend(
            keys.as_array()
                .unwrap()
                .iter()
                .map(|k| crate::support::word(k, "id")),
        );
    }
    shown.sort();
    assert_eq!(shown.len(), 4 * 1500 + 20);
    assert!(home.ids() == shown, "what was shown is what is stored");
    home.ok(&["audit", "verify"]);
}

#[test]
fn two_inits_at_once_make_one_store() {
    let home = Home::empty();
    let children: Vec<_> = (0..4)
        .map(|_| {
            home.command(&["init"])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut made = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        made += usize::from(output.status.success());
    }
    assert_eq!(made, 1);
    home.ok(&["client", "create", "acme"]);
    home.ok(&["audit", "verify"]);
}

#[test]
fn a_key_from_stdin_may_be_anything() {
    let home = Home::new();
    for bytes in [
        &b""[..],
        b"\xff\xfe",
        &[b'a'; 100_000],
        b"\0",
        b"ks_live_x\n",
    ] {
        let mut child = home
            .command(&["explain", "--key", "-", "--path", "/v1/x"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may stop reading what is too long.
        let _ = child.stdin.take().unwrap().write_all(bytes);
        let output = child.wait_with_output().unwrap();
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{}",
            text(&output.stderr)
        );
    }
    assert!(Path::new(KEYSTILECTL).exists());
}
