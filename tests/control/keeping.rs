//! Backups and master keys while others work, and when they are broken off.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::server::Server;
use crate::support::{Home, text, word};

fn issuing(home: &Home, count: u32) -> Child {
    home.command(&["key", "issue", "acme", "--count", &count.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn done(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_backup_made_while_others_write_is_of_one_moment() {
    const COUNT: u32 = 400;
    let home = Home::new();
    let writers: Vec<_> = (0..6).map(|_| issuing(&home, COUNT)).collect();
    let mut sizes = Vec::new();
    for n in 0..6 {
        let file = format!("kept{n}.db");
        home.ok(&["backup", &file]);
        let folder = format!("home{n}");
        fs::create_dir(home.path(&folder)).unwrap();
        fs::copy(
            home.path("home/master.key"),
            home.path(&format!("{folder}/master.key")),
        )
        .unwrap();
        let restored = home.json(&["--home", &folder, "restore", &file]);
        assert!(restored["version"].as_u64() > restored["backed_up_version"].as_u64());
        let keys = home.json(&["--home", &folder, "key", "list"]);
        let keys = keys.as_array().unwrap().len();
        assert_eq!(keys % COUNT as usize, 0, "whole transactions only");
        home.ok(&["--home", &folder, "audit", "verify"]);
        sizes.push(keys);
    }
    writers.into_iter().for_each(done);
    assert!(sizes.is_sorted(), "{sizes:?}");
    assert_eq!(home.ids().len(), 6 * COUNT as usize);
    home.ok(&["audit", "verify"]);
}

#[test]
fn a_backup_that_fails_leaves_the_one_before_it() {
    let home = Home::new();
    home.ok(&["backup", "kept.db"]);
    let kept = fs::read(home.path("kept.db")).unwrap();
    home.ok(&["key", "issue", "acme", "--count", "3000"]);
    let script = "trap '' XFSZ; ulimit -f 1024; exec keystilectl backup kept.db";
    let mut sh = std::process::Command::new("sh");
    sh.args(["-c", script]);
    crate::support::prepare(&mut sh, &home.path(""));
    let output = sh.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(fs::read(home.path("kept.db")).unwrap() == kept);
    let beside = fs::read_dir(home.path("")).unwrap().count();
    assert_eq!(beside, 2, "nothing is left beside");
}

#[test]
fn a_rotation_of_the_master_key_killed_at_any_moment_leaves_a_store_that_opens() {
    let home = Home::new();
    home.ok(&["key", "issue", "acme", "--count", "5000"]);
    let ids = home.ids();
    let id = |home: &Home| fs::read_to_string(home.path("home/master.id")).unwrap();
    let mut killed = 0;
    for delay in [1, 3, 6, 10, 15, 20, 30, 40, 60, 80, 100, 130, 160, 200, 300] {
        let mut child = home
            .command(&["master-key", "rotate"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += u32::from(!status.success());
        assert!(home.ids() == ids, "after {delay} ms");
        home.ok(&["audit", "verify"]);
    }
    assert!(killed > 0, "no run was killed half way");
    // What is left over does not stand in the way of the next one.
    let done = home.json(&["master-key", "rotate"]);
    assert_eq!(id(&home).trim(), word(&done, "new"));
    assert!(!home.path("home/master.key.new").exists());
    assert!(home.ids() == ids);
    home.ok(&["audit", "verify"]);
}

#[test]
fn the_file_is_unreadable_with_the_former_master_key() {
    let home = Home::new();
    let former = fs::read_to_string(home.path("home/master.key")).unwrap();
    home.ok(&["master-key", "rotate"]);
    let output = home
        .command(&["key", "list"])
        .env("KEYSTILE_MASTER_KEY", former.trim())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(
        words.contains("this is not the master key of the store"),
        "{words}"
    );
}

#[test]
fn writers_beside_a_rotation_of_the_master_key_lose_nothing_that_was_shown() {
    let home = Home::new();
    home.ok(&["key", "issue", "acme", "--count", "3000"]);
    let mut shown = Vec::new();
    for _ in 0..4 {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                home.command(&["key", "issue", "acme", "--output", "json"])
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        home.ok(&["master-key", "rotate"]);
        for writer in writers {
            let output = writer.wait_with_output().unwrap();
            if output.status.success() {
                let key: Value = serde_json::from_slice(&output.stdout).unwrap();
                shown.push(word(&key, "id"));
            } else {
                // Who had opened the store with the former key may be refused.
                let words = text(&output.stderr);
                assert!(words.contains("the store"), "{words}");
            }
        }
        home.ok(&["audit", "verify"]);
    }
    let ids = home.ids();
    assert!(shown.iter().all(|id| ids.binary_search(id).is_ok()));
    assert_eq!(ids.len(), 3000 + shown.len());
}

/// What a restore cuts off is not hidden: the restored log verifies by itself, and a
/// checkpoint kept from later says what is gone.
#[test]
fn a_checkpoint_from_after_the_backup_shows_what_a_restore_cut_off() {
    let home = Home::new();
    home.ok(&["backup", "kept.db"]);
    home.ok(&["client", "create", "late"]);
    home.ok(&["audit", "verify"]);
    let later = fs::read(home.path("home/audit.head")).unwrap();
    let master = fs::read_to_string(home.path("home/master.key")).unwrap();
    let elsewhere = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("KEYSTILE_HOME", "restored");
        command.env("KEYSTILE_MASTER_KEY", master.trim());
        command.output().unwrap()
    };
    let restored = elsewhere(&["restore", "kept.db"]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    let verified = elsewhere(&["audit", "verify"]);
    assert!(text(&verified.stdout).contains("none changed"));
    fs::write(home.path("restored/audit.head"), later).unwrap();
    let verified = elsewhere(&["audit", "verify"]);
    assert_eq!(verified.status.code(), Some(1));
    let words = text(&verified.stderr);
    assert!(words.contains("was removed or replaced"), "{words}");
}

/// As the message of a lost store suggests: only the store is moved away.
#[test]
fn a_restore_beside_what_the_lost_store_left_tells_what_is_missing_and_serves_none_of_it() {
    let home = Home::new();
    let revoked = word(&home.json(&["key", "issue", "acme"]), "id");
    let server = Server::start(&home, &[]);
    home.ok(&["backup", "kept.db"]);
    home.ok(&["key", "issue", "acme", "--count", "1500"]);
    home.ok(&["client", "create", "late"]);
    let late = word(&home.json(&["key", "issue", "late"]), "id");
    home.ok(&["key", "revoke", &revoked]);
    published(&home, "overlay.keyset", &late);
    let words = home.refused(&["restore", "kept.db"]);
    assert!(words.contains("a server is running"), "{words}");
    assert!(server.stop());
    let lost_base = version_in(&home, "base.keyset");
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(home.path(&format!("home/store.db{end}")));
    }

    let restored = home.json(&["restore", "kept.db"]);
    assert!(restored["version"].as_u64().unwrap() > lost_base);
    let ids = |list: &str| -> Vec<String> {
        let all = restored[list].as_array().unwrap();
        all.iter().map(|k| word(k, "id")).collect()
    };
    assert_eq!(ids("unknown_keys").len(), 1501);
    assert!(ids("unknown_keys").contains(&late));
    assert_eq!(ids("keys_good_again"), [revoked.as_str()]);
    assert!(!home.path("home/base.keyset").exists(), "put aside");
    assert_eq!(home.ids(), [revoked.as_str()]);
    let lost = home.json(&["key", "lost"]);
    assert_eq!(lost["published"].as_array().unwrap().len(), 1502);
    home.ok(&["key", "revoke", &revoked]);
    let lost = home.json(&["key", "lost"]);
    assert_eq!(lost["published"].as_array().unwrap().len(), 1501);

    // A new client has not the number of the one that is lost: what was counted for that is
    // not counted for this.
    home.ok(&["client", "create", "new"]);
    let server = Server::start(&home, &[]);
    let base = eventually("a base of its own", || {
        let file = home.path("home/base.keyset");
        file.exists().then(|| version_in(&home, "base.keyset"))
    });
    assert!(base > lost_base);
    let held = fs::read(home.path("home/base.keyset")).unwrap();
    assert!(held.len() < 20_000, "one key, and not those that are lost");
    assert!(server.stop());
    home.ok(&["audit", "verify"]);
}

/// The version that a published file says.
fn version_in(home: &Home, name: &str) -> u64 {
    let bytes = fs::read(home.path(&format!("home/{name}"))).unwrap();
    let end = bytes.iter().position(|b| *b == b'\n').unwrap();
    let head: Value = serde_json::from_slice(&bytes[..end]).unwrap();
    let manifest = URL_SAFE_NO_PAD.decode(word(&head, "manifest")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    manifest["version"].as_u64().unwrap()
}

/// Waits until what was published holds the newest version of the store, and a base of its
/// keys.
fn published(home: &Home, name: &str, key: &str) {
    let shown = home.json(&["key", "show", key]);
    assert_eq!(word(&shown, "id"), key);
    let built = home.json(&["keyset", "build", "--out", "now.keyset"]);
    let newest = built["version"].as_u64().unwrap();
    eventually("the newest version to be published", || {
        let big = fs::metadata(home.path("home/base.keyset")).ok()?.len() > 40_000;
        (big && version_in(home, name) >= newest).then_some(())
    });
}

fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let from = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(from.elapsed() < Duration::from_secs(30), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_folder_is_served_by_one_server_and_its_lock_dies_with_it() {
    let home = Home::new();
    let first = Server::start(&home, &[]);
    let second = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--discovery",
        "127.0.0.1:0",
    ];
    let words = home.refused_soon(&second);
    let process = format!("(process {})", first.pid());
    assert!(
        words.contains("is running on") && words.contains(&process),
        "{words}"
    );
    // Killed, it can clean nothing up.
    drop(first);
    assert!(Server::start(&home, &[]).stop());
}

#[test]
fn the_log_of_a_store_that_is_written_to_verifies() {
    let home = Home::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for n in 0..2 {
            let (home, done) = (&home, &done);
            scope.spawn(move || {
                for i in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    home.ok(&["client", "create", &format!("c{n}-{i}")]);
                }
            });
        }
        let failed: Vec<_> = (0..30)
            .map(|_| home.run(&["audit", "verify"]))
            .filter(|output| !output.status.success())
            .map(|output| text(&output.stderr))
            .collect();
        done.store(true, Ordering::Relaxed);
        assert!(failed.is_empty(), "{failed:?}");
    });
}

fn partials(home: &Home) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(home.path("")).unwrap().map(|f| f.unwrap());
    files
        .filter(|f| f.file_name().to_string_lossy().starts_with(".keystile-"))
        .map(|f| f.path())
        .collect()
}

/// Starts a backup, and waits until some of it is written.
fn half_way(home: &Home) -> Child {
    let mut child = home
        .command(&["backup", "kept.db"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the backup to begin", || {
        assert!(child.try_wait().unwrap().is_none(), "it is done already");
        (!partials(home).is_empty()).then_some(())
    });
    child
}

#[test]
fn a_backup_that_is_broken_off_leaves_no_copy_or_the_next_one_removes_it() {
    let home = Home::new();
    done(issuing(&home, 10_000));
    let mut asked = half_way(&home);
    let mut kill = std::process::Command::new("kill");
    kill.args(["-s", "TERM", &asked.id().to_string()]);
    assert!(kill.status().unwrap().success());
    assert_eq!(asked.wait().unwrap().code(), Some(130));
    assert_eq!(partials(&home), [""; 0].map(std::path::PathBuf::from));

    let mut killed = half_way(&home);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let left = partials(&home);
    assert!(!left.is_empty(), "there is nothing to remove");
    for file in &left {
        // Whoever is young may be at work.
        let file = fs::File::options().write(true).open(file).unwrap();
        let old = std::time::SystemTime::now() - Duration::from_secs(600);
        file.set_modified(old).unwrap();
    }
    home.ok(&["backup", "kept.db"]);
    assert_eq!(partials(&home), [""; 0].map(std::path::PathBuf::from));
    home.ok(&["audit", "verify"]);
}
