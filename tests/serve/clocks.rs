//! A server whose clock is set to another day, beside one whose clock is right.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::database::Database;
use crate::replicas::{eventually, post};
use crate::server::{Server, token};
use crate::support::{Home, KEYSTILECTL, text, word};

const DAY: i64 = 86_400;

/// A clock that a program goes by: libfaketime answers it instead of the kernel. The monotonic clock
/// stays as it is.
struct Clock<'h>(&'h Home);

impl<'h> Clock<'h> {
    /// What is run in this folder goes by it.
    fn of_home(home: &'h mut Home) -> Self {
        let library = fs::read_dir("/usr/lib").unwrap().find_map(|entry| {
            let library = entry.unwrap().path().join("faketime/libfaketimeMT.so.1");
            library.exists().then_some(library)
        });
        let library = library.expect("libfaketime: run `scripts/setup tests` first");
        let program = home.path("with-clock");
        let script = format!(
            "#!/bin/sh
export LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1
export FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
exec {KEYSTILECTL} \"$@\"
",
            library.display(),
            home.path("clock").display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        home.uses(Path::new(&program));
        let clock = Self(home);
        clock.set(0);
        clock
    }

    /// So many seconds fast, or slow.
    fn set(&self, seconds: i64) {
        // Renamed into place, because the program reads it all the time.
        let next = self.0.path("clock.next");
        fs::write(&next, format!("{seconds:+}\n")).unwrap();
        fs::rename(next, self.0.path("clock")).unwrap();
    }
}

/// When the newest keyset expires, in seconds.
fn not_after(home: &Home) -> i64 {
    home.ok(&["keyset", "build", "--out", "keyset.json"]);
    let shown = home.json(&["keyset", "inspect", "keyset.json"]);
    let at = word(&shown, "not_after");
    let output = std::process::Command::new("date")
        .args(["-d", &at, "+%s"])
        .output();
    text(&output.unwrap().stdout).trim().parse().unwrap()
}

#[test]
fn a_server_whose_clock_is_wrong_changes_nothing_and_dates_no_keyset() {
    let database = Database::start();
    let mut homes = Home::several(database.address(), 2);
    let owner = token(&homes[0], "owner");
    let policy = "version: 1\nnot_after: 1d\nplans: { gold: {} }\nroutes: [{ path: /a }]\n";
    fs::write(homes[0].path("policy.yaml"), policy).unwrap();
    homes[0].ok(&["policy", "apply", "policy.yaml"]);
    let (right, wrong) = homes.split_at_mut(1);
    let clock = Clock::of_home(&mut wrong[0]);
    let servers = [Server::start(&right[0], &[]), Server::start(clock.0, &[])];
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", &*bearer)];
    let issued = |n: usize| post(&servers[n], "/v1/keys", &headers, r#"{"client": "acme"}"#);
    assert_eq!([issued(0).0, issued(1).0], [201, 201]);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();

    for (wrong, way) in [(-DAY, "behind"), (DAY, "ahead of")] {
        clock.set(wrong);
        // The very first: nobody had time to notice.
        for _ in 0..10 {
            let (status, problem) = issued(1);
            assert_eq!((status, &problem["code"]), (503, &"store_trouble".into()));
            let detail = word(&problem, "detail");
            assert!(detail.contains(way), "{detail}");
        }
        assert_eq!(issued(0).0, 201);
        let left = not_after(&right[0]) - now().as_secs() as i64;
        assert!((DAY - 60..=DAY).contains(&left), "{left}");
        clock.set(0);
        eventually("it to take changes again", || issued(1).0 == 201);
    }
}
