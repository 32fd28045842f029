//! Secrets that Envoy itself has or fetches, in the place of environment variables.

use std::fs;
use std::path::Path;

use crate::fixture::{Keys, in_force, signing_secrets};
use crate::support::{Envoy, Push, Setup, Upstream, eventually, get, minor, shell};

const POLICY: &str = "version: 1\nroutes:\n- {path: \"/v1/{*rest}\"}\n";

/// Whether this Envoy hands secrets to the module.
fn is_asked() -> bool {
    shell::is_module() && minor() >= 40
}

fn lines(keys: &[&Keys]) -> String {
    let all: Vec<String> = keys.iter().map(|k| k.signing_keys()).collect();
    format!("KEYSTILE_SIGNING_KEYS={}\n", all.join(","))
}

/// Puts the secret where Envoy watches for it, as Kubernetes does.
fn write(dir: &Path, lines: &str) {
    let secret = serde_json::json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "keystile",
        "generic_secret": {"secret": {"inline_string": lines}},
    }]});
    fs::write(dir.join("secret.new"), secret.to_string()).unwrap();
    fs::rename(dir.join("secret.new"), dir.join("secret.json")).unwrap();
}

/// With the secret from that file.
fn fetching(upstream: &Upstream, sealed: &str) -> Setup {
    let setup = Setup::ecds(upstream);
    setup.ecds_file().configure(sealed);
    let file = setup.dir().join("secret.json").display().to_string();
    let source =
        serde_json::json!({"path_config_source": {"path": file}, "resource_api_version": "V3"});
    setup
        .environment("KEYSTILE_SECRET", "keystile")
        .environment("KEYSTILE_SECRET_SOURCE", &source.to_string())
}

#[test]
fn a_secret_of_envoys_own_configuration_checks_keysets_and_is_shown_nowhere() {
    if !is_asked() {
        return;
    }
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let setup = Setup::fixed(&upstream, &keys.sealed());
    let file = setup.dir().join("secret");
    fs::write(&file, lines(&[&keys])).unwrap();
    let secret = format!(
        "static_resources:\n  secrets: [{{name: keystile, generic_secret: {{secret: {{filename: \"{}\"}}}}}}]\n",
        file.display()
    );
    let setup = setup
        .edit("static_resources:\n", &secret)
        .environment("KEYSTILE_SECRET", "keystile");
    let envoy = Envoy::start(setup);
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 200);
    assert_eq!(envoy.send(&get("/v1/a")).status, 401);
    let shown = envoy.admin("/config_dump?include_eds").text() + &envoy.log();
    for secret in signing_secrets(&keys.signing_keys()) {
        assert!(!shown.contains(&secret));
    }
}

#[test]
fn a_secret_that_is_replaced_while_envoy_runs_rotates_the_signing_key() {
    if !is_asked() {
        return;
    }
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let mut next = keys.with_policy(POLICY);
    next.sign_as(&Keys::new(POLICY), "next");

    let setup = fetching(&upstream, &keys.sealed());
    write(setup.dir(), &lines(&[&keys]));
    let envoy = Envoy::start(setup);
    eventually("the secret to have arrived", || {
        (envoy.send(&get("/v1/a").bearer(&key)).status == 200).then_some(())
    });

    let later = next.issue("acme");
    let sealed = next.sealed();
    assert_eq!(envoy.push(|file| file.configure(&sealed)), Push::Refused);
    write(envoy.dir(), &lines(&[&keys, &next]));
    eventually("the new secret to be taken", || {
        let sealed = next.sealed();
        (envoy.push(|file| file.configure(&sealed)) == Push::Applied).then_some(())
    });
    in_force(&envoy, next.content.version);
    for key in [&key, &later] {
        assert_eq!(envoy.send(&get("/v1/a").bearer(key)).status, 200);
    }
}

#[test]
fn without_its_secret_envoy_lets_in_nobody_until_it_arrives() {
    if !is_asked() {
        return;
    }
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let setup = fetching(&upstream, &keys.sealed());
    fs::write(setup.dir().join("secret.json"), r#"{"resources": []}"#).unwrap();
    let envoy = Envoy::start(setup);
    for _ in 0..20 {
        assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 503);
    }
    assert!(envoy.log().contains("Envoy is fetching the secret"));
    let stranger = Keys::new(POLICY);
    write(envoy.dir(), &lines(&[&stranger]));
    eventually("the log to say why", || {
        envoy.log().contains("configuration refused").then_some(())
    });
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 503);
    assert_eq!(upstream.requests(), 0);
    write(envoy.dir(), &lines(&[&keys]));
    eventually("the right one to be taken", || {
        (envoy.send(&get("/v1/a").bearer(&key)).status == 200).then_some(())
    });
    assert_eq!(envoy.send(&get("/v1/a")).status, 401);
}
