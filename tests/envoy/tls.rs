//! `require_tls`: what counts is the connection, not what the caller says of it.

use crate::fixture::Keys;
use crate::support::{Envoy, Setup, Upstream, get};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const POLICY: &str = r#"
version: 1
require_tls: true
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/{*rest}" }
"#;

#[test]
fn plain_http_is_refused_where_tls_is_required_whatever_the_headers_say() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start(&upstream);

    let spoofed = get("/v1/a")
        .bearer(&key)
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-ssl", "on")
        .header("forwarded", "proto=https");
    for request in [get("/v1/a").bearer(&key), get("/v1/a"), spoofed] {
        let answer = envoy.send(&request);
        assert_eq!(answer.status, 403);
        assert_eq!(answer.code().as_deref(), Some("tls_required"));
    }
    assert_eq!(upstream.requests(), 0);
    assert_eq!(envoy.send(&get("/healthz")).status, 200);
}

#[test]
fn over_tls_the_same_keys_are_let_in() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let setup = Setup::ecds(&upstream);
    let certificate = self_signed(setup.dir());
    let setup = setup.over_tls(&certificate, &certificate);
    let envoy = keys.start_on(setup);

    let bearer = format!("authorization: Bearer {key}");
    let (status, body) = curl(&envoy, &certificate, "/v1/a", &[&bearer]);
    assert_eq!(status, "200");
    let seen: Value = serde_json::from_str(&body).unwrap();
    assert!(
        seen.to_string().contains(r#"["x-keystile-client","acme"]"#),
        "{seen}"
    );
    let (status, body) = curl(&envoy, &certificate, "/v1/a", &[]);
    assert_eq!(status, "401");
    assert!(body.contains("missing_api_key"), "{body}");
}

/// Certificate and private key in one file.
fn self_signed(dir: &Path) -> String {
    let file = dir.join("certificate.pem");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=api.example.com"])
        .args(["-addext", "subjectAltName=DNS:api.example.com"])
        .arg("-keyout")
        .arg(&file)
        .arg("-out")
        .arg(dir.join("public.pem"))
        .output()
        .expect("openssl: run scripts/setup first");
    let errors = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{errors}");
    let public = std::fs::read(dir.join("public.pem")).unwrap();
    let mut both = std::fs::read(&file).unwrap();
    both.extend(public);
    std::fs::write(&file, both).unwrap();
    file.display().to_string()
}

/// Status and body.
fn curl(envoy: &Envoy, certificate: &str, path: &str, headers: &[&str]) -> (String, String) {
    let port = envoy.address().port();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10"])
        .args(["--cacert", certificate])
        .args(["--resolve", &format!("api.example.com:{port}:127.0.0.1")])
        .args(["--write-out", "\n%{http_code}"]);
    for header in headers {
        curl.args(["--header", header]);
    }
    let output = curl
        .arg(format!("https://api.example.com:{port}{path}"))
        .output()
        .expect("curl: run scripts/setup first");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}
