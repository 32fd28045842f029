//! Certificates: taken, exchanged, and not trusted when nobody vouches for them.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::server::{Server, log_of, token};
use crate::support::{Home, text};

/// A certificate for this machine that vouches for itself, in `name.pem` and `name.key`.
fn self_signed(home: &Home, name: &str, subject: &str) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", &format!("/CN={subject}")])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(home.path(&format!("{name}.key")))
        .arg("-out")
        .arg(home.path(&format!("{name}.pem")))
        .output()
        .expect("openssl: run scripts/setup first");
    assert!(made.status.success(), "{}", text(&made.stderr));
}

const TLS: [&str; 4] = ["--tls-cert", "server.pem", "--tls-key", "server.key"];

fn list(home: &Home, server: &Server, token: &str, ca: &str) -> std::process::Output {
    home.command(&["client", "list", "--output", "json"])
        .env("KEYSTILE_SERVER", format!("https://{}", server.address))
        .env("KEYSTILE_SERVER_CA", ca)
        .env("KEYSTILE_TOKEN", token)
        .output()
        .unwrap()
}

#[test]
fn the_command_line_trusts_the_authority_that_it_is_given_and_no_other() {
    let home = Home::new();
    let owner = token(&home, "owner");
    self_signed(&home, "server", "server");
    self_signed(&home, "other", "other");
    let server = Server::start(&home, &TLS);
    let good = list(&home, &server, &owner, "server.pem");
    assert!(good.status.success(), "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("acme"));
    let bad = list(&home, &server, &owner, "other.pem");
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        text(&bad.stderr).contains("does not answer"),
        "{}",
        text(&bad.stderr)
    );
}

#[test]
fn a_certificate_that_takes_its_place_is_used_without_a_restart() {
    let home = Home::new();
    let owner = token(&home, "owner");
    self_signed(&home, "server", "server");
    let server = Server::start(&home, &TLS);
    assert!(list(&home, &server, &owner, "server.pem").status.success());

    // Half a renewal: the former one stays in force.
    fs::write(home.path("server.pem.new"), "nonsense").unwrap();
    fs::copy(home.path("server.pem"), home.path("former.pem")).unwrap();
    fs::rename(home.path("server.pem.new"), home.path("server.pem")).unwrap();
    let began = Instant::now();
    while !log_of(&home).contains("the new certificate is invalid") {
        assert!(list(&home, &server, &owner, "former.pem").status.success());
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{}",
            log_of(&home)
        );
    }
    assert!(list(&home, &server, &owner, "former.pem").status.success());

    self_signed(&home, "server", "renewed");
    let began = Instant::now();
    while !list(&home, &server, &owner, "server.pem").status.success() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{}",
            log_of(&home)
        );
    }
    assert!(!list(&home, &server, &owner, "former.pem").status.success());
}

#[test]
fn a_certificate_and_a_key_that_do_not_belong_together_are_refused() {
    let home = Home::new();
    self_signed(&home, "server", "server");
    self_signed(&home, "other", "other");
    let words = home.refused(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        "server.pem",
        "--tls-key",
        "other.key",
    ]);
    assert!(
        words.contains("are not a certificate and its key"),
        "{words}"
    );
    let words = home.refused(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        "none.pem",
        "--tls-key",
        "other.key",
    ]);
    assert!(words.contains("`none.pem` cannot be read"), "{words}");
}
