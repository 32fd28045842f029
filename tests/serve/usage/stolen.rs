//! What somebody gets who reads the environment of one enrolled Envoy.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile_core::keyset::{
    Artefact, ArtefactKind, Built, KeysetRefusal, NodeKey, Secrets, SigningKey,
};
use keystile_core::report::usage::seal_receipt;

use super::nodes::{enroll, report};
use super::*;

/// A store whose only signing key is a pair, and two Envoys with secrets of their own.
struct Stolen {
    edge: Edge,
    /// `KEYSTILE_VERIFY_KEYS`, which all have.
    public: String,
    /// `KEYSTILE_NODE_KEY` of `edge-1`.
    node_key: String,
    /// What `edge-2` signs with.
    other: SigningKeys,
    keyset: Vec<u8>,
}

impl Stolen {
    fn new() -> Self {
        let edge = Edge::new();
        let home = &edge.home;
        home.ok(&["signing-key", "create", "--algorithm", "ed25519"]);
        let keys = home.json(&["signing-key", "list"]);
        let old = keys.as_array().unwrap().iter();
        let old = old.filter(|k| k["state"] == "accepted");
        for key in old {
            home.ok(&["signing-key", "retire", &word(key, "kid")]);
        }
        home.ok(&["keyset", "build", "--out", "keyset.json"]);
        Self {
            public: home.ok(&["signing-key", "export", "--public"]),
            node_key: home.ok(&["node", "enroll", "edge-1"]),
            other: enroll(home, "edge-2"),
            keyset: fs::read(home.path("keyset.json")).unwrap(),
            edge,
        }
    }

    /// What another Envoy makes of a push.
    fn elsewhere(&self, push: &[u8]) -> Option<KeysetRefusal> {
        let secrets = Secrets::parse("", &self.public, "").unwrap();
        Artefact::load(&mut &*push, &secrets.keys, |_| {}).err()
    }

    /// The keys that can be made of what was stolen, under the id of the pair.
    fn forgers(&self) -> Vec<SigningKey> {
        let entry = self.public.trim().split_once('=').unwrap().1;
        let (kid, rest) = entry.split_once(':').unwrap();
        let public = URL_SAFE_NO_PAD
            .decode(rest.rsplit_once(':').unwrap().1)
            .unwrap();
        let secret = self.node_key.trim().rsplit_once(':').unwrap().1;
        let secret = URL_SAFE_NO_PAD.decode(secret).unwrap();
        vec![
            SigningKey::new(kid, public.clone().into()).unwrap(),
            SigningKey::new(kid, secret.clone().into()).unwrap(),
            SigningKey::ed25519(kid, &public).unwrap(),
            SigningKey::ed25519(kid, &secret).unwrap(),
            SigningKey::public(kid, &public).unwrap(),
            NodeKey::parse(&self.node_key).unwrap().signing_key(),
        ]
    }

    /// The keyset as it is, or as an overlay, unsigned.
    fn built(&self, kind: ArtefactKind) -> Built {
        let envelope: Value = serde_json::from_slice(&self.keyset).unwrap();
        let bytes = |field: &str| URL_SAFE_NO_PAD.decode(word(&envelope, field)).unwrap();
        Built {
            kind,
            manifest: bytes("manifest"),
            pages: bytes("pages"),
            keys: 1,
            version: 1,
        }
    }
}

#[test]
fn a_stolen_environment_forges_no_keyset_no_overlay_and_no_receipt() {
    let stolen = Stolen::new();
    assert_eq!(stolen.elsewhere(&stolen.keyset), None);
    for kind in [ArtefactKind::Keyset, ArtefactKind::Overlay] {
        for forger in stolen.forgers() {
            let forged = stolen.built(kind).seal(&forger, 1);
            let refused = stolen.elsewhere(forged.as_bytes());
            let by_signature = matches!(
                refused,
                Some(
                    KeysetRefusal::Signature
                        | KeysetRefusal::OtherAlgorithm { .. }
                        | KeysetRefusal::UnknownKid(_)
                )
            );
            assert!(by_signature, "{refused:?}");
        }
    }
    // The true signature of a keyset is none for an overlay.
    let as_overlay = String::from_utf8(stolen.keyset.clone()).unwrap();
    let as_overlay = as_overlay.replacen("\"manifest\"", "\"kind\":\"overlay\",\"manifest\"", 1);
    assert_eq!(
        stolen.elsewhere(as_overlay.as_bytes()),
        Some(KeysetRefusal::Signature)
    );

    let receipt = Receipt {
        node: "edge-2".into(),
        epoch: 5,
        vm: 0,
        claimed: 1,
        seq: 1,
        quotas: Vec::new(),
    };
    for forger in stolen.forgers() {
        let Some(forged) = seal_receipt(&receipt, &SigningKeys::new(vec![forger])) else {
            continue;
        };
        let opened = open_receipt(&forged.body, &forged.kid, &forged.tag, &stolen.other);
        assert!(opened.is_err());
    }
}

#[test]
fn a_stolen_environment_speaks_for_its_own_envoy_alone_and_what_was_tried_is_written_down() {
    let stolen = Stolen::new();
    let edge = &stolen.edge;
    let server = Server::start(&edge.home, &[]);
    let own = SigningKeys::new(vec![
        NodeKey::parse(&stolen.node_key).unwrap().signing_key(),
    ]);
    let as_node = |node: &str, n: u64| Batch {
        node: node.to_owned(),
        ..edge.batch(0, 1, n)
    };
    let sent = |batch: &Batch, keys: &SigningKeys| {
        post(&server, &seal_batch(batch, keys).unwrap())
            .unwrap()
            .status
    };
    assert_eq!(sent(&as_node("edge-1", 3), &own), 200);
    for node in ["edge-2", "edge-3", ""] {
        assert_eq!(sent(&as_node(node, 1_000_000), &own), 403, "{node}");
    }
    nodes::eventually("reports to be taken", || {
        report(&server, edge, "edge-1", &own) == 204
    });
    for node in ["edge-2", "edge-3", ""] {
        assert_eq!(report(&server, edge, node, &own), 403, "{node}");
    }
    let secret = stolen.node_key.trim().rsplit_once(':').unwrap().1;
    for path in ["/v1/keys", "/v1/signing-keys", "/v1/nodes"] {
        let asked = agent()
            .get(format!("{}{path}", server.url()))
            .header("authorization", &format!("Bearer {secret}"))
            .call();
        assert_eq!(asked.unwrap().status().as_u16(), 401, "{path}");
    }
    assert_eq!(sent(&as_node("edge-2", 5), &stolen.other), 200);
    assert_eq!(edge.requests(), 3 + 1 + 5 + 1, "nothing of what was forged");

    let log = edge
        .home
        .ok(&["--output", "json", "audit", "list", "--outcome", "refused"]);
    let log: Value = serde_json::from_str(&log).unwrap();
    let tried = |action: &str, subject: &str| {
        let mut all = log.as_array().unwrap().iter();
        all.any(|r| r["action"] == action && r["subject"] == subject)
    };
    for (action, subject) in [
        ("usage.send", "edge-2"),
        ("report.send", "edge-2"),
        ("key.list", ""),
        ("node.list", ""),
    ] {
        assert!(tried(action, subject), "{action} {subject} in {log:#}");
    }
    assert!(!log.to_string().contains(secret));
}

#[test]
fn a_policy_that_requires_enrolment_is_kept_from_the_next_message_on() {
    let edge = Edge::new();
    let home = &edge.home;
    let server = Server::start(home, &[]);
    let sent = |seq| {
        let batch = edge.batch(0, seq, 1);
        post(&server, &seal_batch(&batch, &edge.keys).unwrap()).unwrap()
    };
    assert_eq!(sent(1).status, 200, "whoever has the shared secret");
    let policy = home.ok(&["policy", "show"]);
    let asking = |says: &str| {
        fs::write(
            home.path("policy.yaml"),
            format!("{policy}\nrequire_enrolment: {says}\n"),
        )
        .unwrap();
        home.ok(&["policy", "apply", "policy.yaml"]);
    };
    asking("true");
    nodes::at_once("it to be refused", || sent(2).status == 403);
    assert!(sent(2).body.contains("is not enrolled"), "{}", sent(2).body);
    // While the server is down, too.
    drop(server);
    let own = enroll(home, "edge-1");
    let server = Server::start(home, &[]);
    let batch = edge.batch(0, 2, 1);
    assert_eq!(
        post(&server, &seal_batch(&batch, &own).unwrap())
            .unwrap()
            .status,
        200
    );
    let shared = post(
        &server,
        &seal_batch(&edge.batch(0, 3, 1), &edge.keys).unwrap(),
    );
    assert_eq!(shared.unwrap().status, 403);
}
