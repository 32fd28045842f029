//! Discovery over mutual TLS, set up as `envoy/discovery.yaml` says in its comment: an
//! Envoy of the authority is served, and nobody else is.

use crate::pki::Authority;
use crate::support::{Companion, Envoy, Server, Setup, Upstream, eventually, fresh_dir, get, part};
use std::fs;

const POLICY: &str = r#"
version: 1
not_after: 1d
report: { cluster: keystile-control, every: 1s }
routes:
  - { path: "/v1/{*rest}" }
"#;
const NAME: &str = "keystile.internal";

/// What an Envoy shows and believes.
struct Papers<'p> {
    certificate: Option<(&'p Authority, &'p str)>,
    trusts: &'p Authority,
}

/// The lines that the shipped file has in a comment, as a user uncomments them.
fn socket() -> String {
    let shipped = fs::read_to_string(part("envoy/discovery.yaml", "git checkout")).unwrap();
    let from = shipped.find("  #   transport_socket:\n").unwrap();
    let lines = shipped[from..].lines();
    let block = lines.map_while(|line| line.strip_prefix("  #   "));
    block.fold(String::new(), |all, line| all + "    " + line + "\n")
}

fn with(setup: Setup, papers: &Papers<'_>) -> Setup {
    let mut socket = socket();
    match papers.certificate {
        Some((authority, name)) => {
            for (shipped, end) in [("envoy.crt", "pem"), ("envoy.key", "key")] {
                let file = authority.path(&format!("{name}.{end}"));
                socket = socket.replace(&format!("/etc/keystile/{shipped}"), &file);
            }
        }
        None => {
            let from = socket.find("        tls_certificates:").unwrap();
            let to = socket.find("        validation_context:").unwrap();
            socket.replace_range(from..to, "");
        }
    }
    let socket = socket.replace("/etc/keystile/ca.crt", &papers.trusts.path("ca.pem"));
    assert!(!socket.contains("/etc/keystile"), "{socket}");
    let cluster = "  - name: keystile-discovery\n";
    setup.edit(cluster, &format!("{cluster}{socket}"))
}

#[test]
fn an_envoy_of_the_authority_is_served_and_nobody_else_is() {
    let dir = fresh_dir();
    let companion = Companion::init(&dir, POLICY);
    companion.run(&["client", "create", "acme"]);
    let (ours, theirs) = (
        Authority::new(dir.join("ours")),
        Authority::new(dir.join("theirs")),
    );
    ours.issue("server", NAME);
    ours.issue("edge", "edge-1");
    ours.issue_expired("expired", "edge-1");
    theirs.issue("edge", "edge-1");
    let server = Server::started(
        &companion,
        &[
            "--discovery-tls-cert",
            &ours.path("server.pem"),
            "--discovery-tls-key",
            &ours.path("server.key"),
            "--discovery-client-ca",
            &ours.path("ca.pem"),
        ],
    );
    let upstream = Upstream::start();
    let (key, id) = server.issue(&["acme"]);
    let (stays, _) = server.issue(&["acme"]);
    let good = Papers {
        certificate: Some((&ours, "edge")),
        trusts: &ours,
    };
    let setup = |node: &str, papers: &Papers<'_>| {
        with(server.rendered(&companion, &upstream, node), papers)
    };
    let envoy = Envoy::start(setup("edge-1", &good));
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 200);

    let strangers = [
        ("of-another-authority", Some((&theirs, "edge")), &ours),
        ("without-certificate", None, &ours),
        ("expired", Some((&ours, "expired")), &ours),
        ("that-does-not-trust-us", Some((&ours, "edge")), &theirs),
    ];
    let strangers = strangers.map(|(node, certificate, trusts)| {
        let papers = Papers {
            certificate,
            trusts,
        };
        (node, Envoy::unready(setup(node, &papers)))
    });
    for (node, mut stranger) in strangers {
        eventually("the stranger to have tried three times", || {
            let tried = stranger.stats(r"cluster.keystile-discovery.upstream_cx_total$");
            (tried.values().sum::<u64>() >= 3).then_some(())
        });
        assert!(!stranger.is_ready(), "{node} was served");
        let workers = stranger.stats("listener_manager.workers_started$");
        assert_eq!(workers.into_values().collect::<Vec<_>>(), [0], "{node}");
        let updates = stranger.stats(r"extension_config_discovery.*update_success$");
        assert_eq!(updates.values().sum::<u64>(), 0, "{node}");
    }

    // The one that is served never noticed.
    let fleet = server.json(&["fleet"]);
    let nodes: Vec<_> = fleet
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap())
        .collect();
    assert_eq!(nodes, ["edge-1"], "{fleet}");
    let revoked = server.json(&["key", "revoke", &id, "--wait"]);
    assert_eq!(revoked["status"], "revoked", "{revoked}");
    assert_eq!(envoy.send(&get("/v1/a").bearer(&key)).status, 401);
    assert_eq!(envoy.send(&get("/v1/a").bearer(&stays)).status, 200);
}

#[test]
fn a_server_whose_certificate_names_another_host_gets_no_envoy() {
    let dir = fresh_dir();
    let companion = Companion::init(&dir, POLICY);
    let ours = Authority::new(dir.join("ours"));
    ours.issue("server", "elsewhere.internal");
    ours.issue("edge", "edge-1");
    let server = Server::started(
        &companion,
        &[
            "--discovery-tls-cert",
            &ours.path("server.pem"),
            "--discovery-tls-key",
            &ours.path("server.key"),
        ],
    );
    let upstream = Upstream::start();
    let papers = Papers {
        certificate: Some((&ours, "edge")),
        trusts: &ours,
    };
    let rendered = server.rendered(&companion, &upstream, "edge-1");
    let mut envoy = Envoy::unready(with(rendered, &papers));
    eventually("Envoy to have refused the certificate", || {
        let refused = envoy.stats(r"cluster.keystile-discovery.ssl.fail_verify_san$");
        (refused.values().sum::<u64>() >= 1).then_some(())
    });
    assert!(!envoy.is_ready());
}
