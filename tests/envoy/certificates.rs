//! Keys bound to client certificates, over mutual TLS as `envoy/examples/certificates.yaml` has
//! it: who may write a name into a certificate is the listener's authority alone.

use crate::fixture::Keys;
use crate::pki::Authority;
use crate::support::{Envoy, Reply, Setup, Upstream, fresh_dir, shell};
use std::path::{Path, PathBuf};
use std::process::Command;

const POLICY: &str = r#"
version: 1
credentials: [{ header: x-api-key }]
routes:
  - { path: "/v1/{*rest}" }
"#;
const BILLING: &str = "spiffe://example.org/billing";
const SERVER: &str = "api.example.com";

/// A setup of the example, with keys of each kind.
struct Scene {
    dir: PathBuf,
    /// Of the clients' certificates.
    authority: Authority,
    /// One that the listener does not know.
    foreign: Authority,
    upstream: Upstream,
    keys: Keys,
    by_uri: String,
    by_dns: String,
    free: String,
}

impl Scene {
    fn new(policy: &str) -> Self {
        let dir = fresh_dir();
        let (authority, foreign) = (
            Authority::new(dir.join("ours")),
            Authority::new(dir.join("theirs")),
        );
        authority.issue("server", SERVER);
        let mut keys = Keys::new(policy);
        let mut bound = |identity: &str| {
            keys.issue_with("acme", |row| row.certificates = vec![identity.to_owned()])
        };
        let (by_uri, by_dns) = (bound(BILLING), bound("dns:billing.example.com"));
        let free = keys.issue("beta");
        Self {
            dir,
            authority,
            foreign,
            upstream: Upstream::answering(|seen| match seen.path.split_once("?to=") {
                Some((_, to)) => Reply::redirect(&format!("https://{SERVER}{to}")),
                None => Reply::echo(seen),
            }),
            keys,
            by_uri,
            by_dns,
            free,
        }
    }

    fn setup(&self) -> Setup {
        [
            ("server.pem", "server.pem"),
            ("server.key", "server.key"),
            ("clients-ca.pem", "ca.pem"),
        ]
        .into_iter()
        .fold(
            Setup::example("certificates.yaml", &self.upstream),
            |setup, (shipped, file)| {
                setup.edit(
                    &format!("target/keystile/{shipped}"),
                    &self.authority.path(file),
                )
            },
        )
    }

    /// A certificate and its private key in one file: of this authority, with these
    /// subject alternative names.
    fn paper(&self, authority: &Authority, name: &str, common: &str, names: &str) -> PathBuf {
        let file = self.dir.join(name);
        let config = self.dir.join("openssl.conf");
        std::fs::write(&config, "[req]\ndistinguished_name = any\n[any]\n").unwrap();
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]);
        make.args(["-pkeyopt", "ec_paramgen_curve:P-256"]);
        make.arg("-config").arg(&config);
        make.args(["-subj", &format!("/CN={common}")]);
        make.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        if !names.is_empty() {
            make.args(["-addext", &format!("subjectAltName={names}")]);
        }
        make.args(["-CA", &authority.path("ca.pem")]);
        make.args(["-CAkey", &authority.path("ca.key")]);
        let public = self.dir.join(format!("{name}.public"));
        make.arg("-keyout").arg(&file).arg("-out").arg(&public);
        let output = make.output().expect("openssl: run scripts/setup first");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let mut both = std::fs::read(&file).unwrap();
        both.extend(std::fs::read(&public).unwrap());
        std::fs::write(&file, both).unwrap();
        file
    }

    fn billing(&self) -> PathBuf {
        self.paper(
            &self.authority,
            "billing",
            "billing",
            &format!("URI:{BILLING}"),
        )
    }

    /// What a request is answered with this certificate: `200`, a code, or `no connection`.
    fn ask(&self, envoy: &Envoy, paper: Option<&Path>, key: &str) -> String {
        self.ask_all(envoy, paper, key, &["/v1/a"]).remove(0)
    }

    /// The same for one request after another, each on a connection of its own that resumes
    /// the TLS session of the one before if it can.
    fn ask_all(
        &self,
        envoy: &Envoy,
        paper: Option<&Path>,
        key: &str,
        paths: &[&str],
    ) -> Vec<String> {
        let port = envoy.address().port();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "10"])
            .args(["--cacert", &self.authority.path("ca.pem")])
            .args(["--resolve", &format!("{SERVER}:{port}:127.0.0.1")])
            .args(["--header", &format!("x-api-key: {key}")])
            .args(["--header", "connection: close"])
            // What a caller says of certificates counts for nothing.
            .args([
                "--header",
                &format!("x-forwarded-client-cert: URI={BILLING}"),
            ])
            .args(["--write-out", "\n@%{http_code}\n"]);
        if let Some(paper) = paper {
            curl.arg("--cert").arg(paper).arg("--key").arg(paper);
        }
        curl.args(paths.iter().map(|p| format!("https://{SERVER}:{port}{p}")));
        let output = curl.output().expect("curl: run scripts/setup first");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut rest = text.as_str();
        let mut answers = Vec::new();
        while let Some((body, after)) = rest.split_once("\n@") {
            let (status, after) = after.split_once('\n').unwrap();
            let problem = serde_json::from_str::<serde_json::Value>(body).ok();
            let code = problem.and_then(|p| p["code"].as_str().map(str::to_owned));
            answers.push(match status {
                "000" => "no connection".to_owned(),
                _ => code.unwrap_or_else(|| status.to_owned()),
            });
            rest = after;
        }
        assert_eq!(answers.len(), paths.len(), "{text}");
        answers
    }
}

/// Whether this Envoy says of a certificate that it was checked.
fn says_validated() -> bool {
    if shell::is_module() {
        return false;
    }
    keystile_tests::proxy::minor() >= 39
}

/// The policy as the example has it, for an Envoy of any version.
fn policy() -> String {
    match says_validated() {
        true => POLICY.to_owned(),
        false => format!("{POLICY}client_certificates: presented\n"),
    }
}

#[test]
fn a_bound_key_opens_with_its_certificate_and_with_nothing_else() {
    let mut scene = Scene::new(&policy());
    let setup = scene.setup();
    let envoy = scene.keys.start_on(setup);
    let paper = |name: &str, common: &str, names: &str| {
        Some(scene.paper(&scene.authority, name, common, names))
    };
    let other = "URI:spiffe://example.org/other";
    let both = format!("{other},DNS:Billing.example.com");
    let second = format!("{other},URI:{BILLING}");
    for (what, paper, [by_uri, by_dns]) in [
        ("its own", Some(scene.billing()), [true, false]),
        (
            "by DNS name",
            paper("dns", "x", "DNS:billing.example.com"),
            [false, true],
        ),
        ("of several kinds", paper("both", "x", &both), [false, true]),
        ("a stranger's", paper("other", "x", other), [false, false]),
        (
            "a stranger's, its own second",
            paper("second", "x", &second),
            [false, false],
        ),
        (
            "a wildcard",
            paper("wild", "x", "DNS:*.example.com"),
            [false, false],
        ),
        (
            "by common name",
            paper("common", "billing.example.com", ""),
            [false, false],
        ),
        (
            "by common name, as a URI",
            paper("common-uri", "spiffe:example.org", ""),
            [false, false],
        ),
        ("none", None, [false, false]),
    ] {
        let word = |good: bool| if good { "200" } else { "certificate_denied" };
        let ask = |key: &str| scene.ask(&envoy, paper.as_deref(), key);
        assert_eq!(ask(&scene.by_uri), word(by_uri), "{what}, by URI");
        assert_eq!(ask(&scene.by_dns), word(by_dns), "{what}, by DNS name");
        assert_eq!(
            ask(&scene.free),
            "200",
            "{what}, a key that is bound to none"
        );
    }
    let names = format!("URI:{BILLING}");
    let forged = scene.paper(&scene.foreign, "forged", "billing", &names);
    assert_eq!(
        scene.ask(&envoy, Some(&forged), &scene.by_uri),
        "no connection"
    );
    let line = envoy.access_line(|line| line["reason"] == "keystile:certificate_denied:absent");
    assert_eq!(line["key"], crate::fixture::id(&scene.by_uri).to_string());
}

#[test]
fn a_certificate_that_nobody_checked_proves_nothing() {
    let mut scene = Scene::new(POLICY);
    let names = format!("URI:{BILLING}");
    let forged = scene.paper(&scene.foreign, "forged", "billing", &names);
    let own = scene.billing();
    // A listener that takes whatever comes, in each of the ways that there are.
    let checked = format!(
        "            validation_context:\n              trusted_ca: {{filename: {}}}\n",
        scene.authority.path("ca.pem")
    );
    let untrusted = format!("{checked}              trust_chain_verification: ACCEPT_UNTRUSTED\n");
    let anything = "            validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}\n";
    let asks = "require_client_certificate: false";
    let insists = "require_client_certificate: true";
    for (what, setup, own_is_good, details) in [
        (
            "accepted untrusted",
            scene.setup().edit(&checked, &untrusted),
            says_validated(),
            "unproven",
        ),
        (
            "without an authority",
            scene.setup().edit(&checked, anything),
            false,
            "unproven",
        ),
        // Envoy asks for none then, whatever the other field says.
        (
            "without validation",
            scene.setup().edit(&checked, "").edit(asks, insists),
            false,
            "absent",
        ),
    ] {
        let envoy = scene.keys.start_on(setup);
        let answer = scene.ask(&envoy, Some(&forged), &scene.by_uri);
        assert_eq!(answer, "certificate_denied", "{what}");
        let details = format!("keystile:certificate_denied:{details}");
        let line = envoy.access_line(|line| line["reason"].is_string());
        assert_eq!(line["reason"], details, "{what}");
        let word = if own_is_good {
            "200"
        } else {
            "certificate_denied"
        };
        assert_eq!(scene.ask(&envoy, Some(&own), &scene.by_uri), word, "{what}");
        assert_eq!(
            scene.ask(&envoy, Some(&forged), &scene.free),
            "200",
            "{what}"
        );
    }
}

/// Envoy does not say of a resumed session that its certificate was checked (envoy#21235).
#[test]
fn a_resumed_session_is_refused_unless_the_policy_takes_the_listeners_word() {
    let mut scene = Scene::new(POLICY);
    let own = scene.billing();
    let resuming = |scene: &Scene| {
        scene
            .setup()
            .edit(
                "disable_stateless_session_resumption: true",
                "disable_stateless_session_resumption: false",
            )
            .edit(
                "disable_stateful_session_resumption: true",
                "disable_stateful_session_resumption: false",
            )
    };
    let twice = |scene: &Scene, envoy: &Envoy| {
        scene.ask_all(envoy, Some(&own), &scene.by_uri, &["/v1/a", "/v1/b"])
    };
    let reused = |envoy: &Envoy| envoy.stats("ssl.session_reused").values().sum::<u64>();
    let first = if says_validated() {
        "200"
    } else {
        "certificate_denied"
    };

    let setup = scene.setup();
    let envoy = scene.keys.start_on(setup);
    assert_eq!(
        twice(&scene, &envoy),
        [first, first],
        "as the example has it"
    );
    assert_eq!(reused(&envoy), 0);

    let setup = resuming(&scene);
    let envoy = scene.keys.start_on(setup);
    assert_eq!(twice(&scene, &envoy), [first, "certificate_denied"]);
    assert_eq!(reused(&envoy), 1);

    scene
        .keys
        .set_policy(&format!("{POLICY}client_certificates: presented\n"));
    let setup = resuming(&scene);
    let envoy = scene.keys.start_on(setup);
    assert_eq!(twice(&scene, &envoy), ["200", "200"]);
    assert_eq!(reused(&envoy), 1);
}

#[test]
fn an_internal_redirect_keeps_the_certificate() {
    let mut scene = Scene::new(&policy());
    let own = scene.billing();
    let setup = scene.setup().edit(
        "route: {cluster: upstream}",
        "route: {cluster: upstream, internal_redirect_policy: {max_internal_redirects: 1}}",
    );
    let envoy = scene.keys.start_on(setup);
    let answers = scene.ask_all(&envoy, Some(&own), &scene.by_uri, &["/v1/old?to=/v1/new"]);
    assert_eq!(answers, ["200"]);
    assert_eq!(scene.upstream.requests(), 2);
}
