//! In a mesh: the real Envoy is given what Istio makes of the resources that `keystilectl
//! render istio` prints.

mod discovery;
pub mod mesh;
mod other;

use crate::fixture::in_force;
use crate::support::{
    Answer, Companion, EcdsFile, Envoy, Load, Setup, Upstream, burst, count, echoed, eventually,
    fresh_dir, get, shell,
};
use crate::traps::{trapping, write_broken};
use mesh::{Gateway, documents, resource_of};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

const POLICY: &str = r#"
version: 1
plans:
  day: { limits: [{ requests: 10, per: 1d }] }
routes:
  - { path: /healthz, auth: none }
  - { path: "/v1/{*rest}" }
  - { path: "/closed/{*rest}" }
"#;
const RENDER: [&str; 6] = [
    "render",
    "istio",
    "--namespace",
    "edge",
    "--image",
    "oci://registry.example/keystile@sha256:00",
];

/// A gateway with our TrafficExtension, and the store behind it.
struct Mesh {
    companion: Companion,
    gateway: Gateway,
    upstream: Upstream,
    wasm: String,
}

impl Mesh {
    fn new() -> Self {
        Self::under(POLICY)
    }

    fn under(policy: &str) -> Self {
        let upstream = Upstream::start();
        let companion = Companion::init(&fresh_dir(), policy);
        companion.run(&["client", "create", "acme"]);
        let mut gateway = Gateway::new(&upstream);
        for resource in documents(&companion.run(&RENDER)) {
            gateway.apply(&resource);
        }
        Self {
            companion,
            gateway,
            upstream,
            wasm: shell::file().display().to_string(),
        }
    }

    /// The resource of the store as it is.
    fn resource(&self) -> Value {
        let first = documents(&self.companion.run(&RENDER)).swap_remove(0);
        resource_of(&first, &self.wasm)
    }

    fn apply(&self, file: &EcdsFile) {
        file.write(self.resource().to_string());
    }

    fn version(&self) -> u64 {
        let pushed = self
            .companion
            .push(&self.companion.dir().join("elsewhere.pb"));
        pushed["version"].as_u64().unwrap()
    }

    fn start(&self) -> (Envoy, EcdsFile) {
        let (setup, file) = self.gateway.setup();
        self.apply(&file);
        (self.launch(setup), file)
    }

    fn launch(&self, setup: Setup) -> Envoy {
        Envoy::start(setup.signing_keys(&self.companion.signing_keys()))
    }
}

#[test]
fn the_plugin_stands_before_istio_s_own_authentication_and_the_guard_before_the_router() {
    let mesh = Mesh::new();
    let ours = match shell::is_module() {
        true => "keystile",
        false => "extensions.istio.io/trafficextension/edge.keystile",
    };
    let mut want = vec![
        ours,
        "envoy.filters.http.jwt_authn",
        "envoy.filters.http.rbac",
        "keystile-guard",
        "envoy.filters.http.router",
    ];
    want.retain(|filter| !shell::is_module() || *filter != "keystile-guard");
    assert_eq!(mesh.gateway.order(), want);
}

#[test]
fn a_wasm_plugin_for_an_older_istio_becomes_the_same_configuration() {
    let companion = Companion::init(&fresh_dir(), POLICY);
    let [new, old] = [&[][..], &["--istio", "1.29"]].map(|version| {
        let text = companion.run(&[&RENDER[..], version].concat());
        let first = documents(&text).swap_remove(0);
        let mut resource = resource_of(&first, "keystile.wasm");
        let config = &mut resource["resources"][0]["typed_config"]["config"];
        // A keyset is sealed with another nonce each time.
        config.as_object_mut().unwrap().remove("configuration");
        let text = resource.to_string();
        text.replace("~istio-translated-wasmplugin", "")
    });
    assert_eq!(new, old);
}

#[test]
fn a_gateway_of_a_mesh_lets_keys_in_and_nobody_else() {
    let mesh = Mesh::new();
    let (key, _) = mesh.companion.issue(&["acme"]);
    let (envoy, _) = mesh.start();
    in_force(&envoy, mesh.version());

    let answer = envoy.send(&get("/v1/a").bearer(&key));
    assert_eq!(answer.status, 200);
    assert_eq!(echoed(&answer.json()).header("x-keystile-client"), ["acme"]);
    assert_eq!(envoy.send(&get("/v1/a")).status, 401);
    assert_eq!(envoy.send(&get("/healthz")).status, 200);
    // Ours comes first: who has no key learns nothing of what Istio would have said.
    assert_eq!(envoy.send(&get("/closed/a")).status, 401);
    assert_eq!(envoy.send(&get("/closed/a").bearer(&key)).status, 403);
    let wrong_token = get("/v1/a").header("x-token", "a.b.c");
    assert_eq!(
        envoy.send(&wrong_token).code().as_deref(),
        Some("missing_api_key")
    );
    assert_eq!(envoy.send(&wrong_token.bearer(&key)).code(), None);
    // Nobody names himself in a header that the upstream would read as ours.
    let named = get("/v1/a")
        .bearer(&key)
        .header("x_keystile_client", "mallory");
    let seen = echoed(&envoy.send(&named).json());
    assert_eq!(seen.header("x_keystile_client"), [""; 0]);
    // Labels, by what the ConfigMap adds to the bootstrap.
    let refused = r#"keystile_requests_total{outcome="missing_api_key"}"#;
    eventually("the refusals to be counted", || {
        (envoy.metric(refused) == Some(3)).then_some(())
    });
}

#[test]
fn another_plugin_in_the_same_name_space_changes_no_verdict_and_names_no_caller() {
    if shell::leaves_out(shell::Vms::Share) {
        return;
    }
    let mut mesh = Mesh::new();
    let wasm = fresh_dir().join("other.wasm");
    fs::write(&wasm, other::plugin()).unwrap();
    mesh.gateway.first(json!({
        "name": "edge.other",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "edge.other",
                "root_id": "other",
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": wasm}},
                },
            },
        },
    }));
    mesh.companion
        .run(&["client", "create", "daily", "--plan", "day"]);
    let (key, _) = mesh.companion.issue(&["daily"]);
    let (envoy, _) = mesh.start();
    in_force(&envoy, mesh.version());

    // Every request passes both, from both workers, and the bucket stays exact.
    let answers = burst(envoy.address(), 10, 4, &get("/v1/a").bearer(&key));
    assert_eq!((count(&answers, 200), count(&answers, 429)), (10, 30));
    let open = echoed(&envoy.send(&get("/healthz")).json());
    let none: [&str; 0] = [];
    assert_eq!(open.header("x-keystile-client"), none);
    assert_eq!(envoy.send(&get("/v1/a")).status, 401);
    // That it ran at all: without us, its header arrives.
    let (setup, _) = {
        let mut alone = Gateway::new(&mesh.upstream);
        alone.first(json!({
            "name": "edge.other",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {"name": "edge.other", "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": wasm}},
                }},
            },
        }));
        alone.setup()
    };
    let seen = echoed(&Envoy::start(setup).send(&get("/")).json());
    assert_eq!(seen.header("x-keystile-client"), ["mallory"]);
}

/// What an edit makes of limits and requests.
fn edited(new_image: bool) {
    let mut mesh = Mesh::new();
    mesh.companion
        .run(&["client", "create", "daily", "--plan", "day"]);
    let (limited, _) = mesh.companion.issue(&["daily"]);
    let (free, _) = mesh.companion.issue(&["acme"]);
    let (doomed, doomed_id) = mesh.companion.issue(&["acme"]);
    let (envoy, file) = mesh.start();
    in_force(&envoy, mesh.version());
    let answers = burst(envoy.address(), 5, 1, &get("/v1/a").bearer(&limited));
    assert_eq!(count(&answers, 200), 5);
    assert_eq!(envoy.send(&get("/v1/a").bearer(&doomed)).status, 200);

    let requests = vec![get("/v1/a").bearer(&free), get("/v1/a")];
    let load = Load::start(envoy.address(), 8, Duration::from_millis(1), requests);
    mesh.companion.run(&["key", "revoke", &doomed_id]);
    if new_image {
        mesh.wasm = another_image(&mesh);
    }
    mesh.apply(&file);
    in_force_somewhere_for_every_worker(&envoy, mesh.version());
    load.another_round();
    let answers: Vec<Vec<Answer>> = load.stop();

    // Each request meanwhile got the answer that it would have got at any other time.
    let statuses: std::collections::BTreeSet<_> =
        answers.iter().flatten().map(Answer::status).collect();
    assert_eq!(statuses, [Some(200), Some(401)].into());
    // The bucket kept its level, and the revocation is in force.
    let answers = burst(envoy.address(), 10, 1, &get("/v1/a").bearer(&limited));
    assert_eq!((count(&answers, 200), count(&answers, 429)), (5, 5));
    for _ in 0..8 {
        assert_eq!(envoy.send(&get("/v1/a").bearer(&doomed)).status, 401);
    }
}

/// The same filter in other bytes: one more custom section, named `x`.
fn another_image(mesh: &Mesh) -> String {
    let mut wasm = fs::read(&mesh.wasm).unwrap();
    wasm.extend([0, 2, 1, b'x']);
    let path = mesh.companion.dir().join("another.wasm");
    fs::write(&path, wasm).unwrap();
    path.display().to_string()
}

/// New VMs take new numbers until those of the old ones count as dead.
fn in_force_somewhere_for_every_worker(envoy: &Envoy, version: u64) {
    eventually("every VM to have the keyset in force", || {
        let shown = envoy.versions();
        let new = shown.iter().filter(|shown| **shown == version).count();
        (new >= shell::gauges()).then_some(())
    });
}

#[test]
fn an_edit_of_the_plugin_keeps_vms_and_buckets_and_loses_no_request() {
    edited(false);
}

#[test]
fn an_edit_that_makes_the_vms_anew_keeps_the_buckets_and_loses_no_request() {
    if shell::leaves_out(shell::Vms::Share) {
        return;
    }
    edited(true);
}

#[test]
fn new_vms_take_no_older_keyset_than_the_old_ones_had() {
    if shell::leaves_out(shell::Vms::Share) {
        return;
    }
    let mut mesh = Mesh::new();
    let (key, id) = mesh.companion.issue(&["acme"]);
    let image = mesh.wasm.clone();
    mesh.wasm = another_image(&mesh);
    let older = mesh.resource();
    mesh.wasm = image;
    mesh.companion.run(&["key", "revoke", &id]);
    let (envoy, file) = mesh.start();
    in_force(&envoy, mesh.version());
    let asking = get("/v1/a").bearer(&key);
    assert_eq!(
        envoy.send(&asking).code().as_deref(),
        Some("revoked_api_key")
    );

    // Somebody applies the file of last week, with its image.
    file.write(older.to_string());
    let code = eventually("the new VMs to answer", || {
        let code = envoy.send(&asking).code()?;
        (code != "revoked_api_key").then_some(code)
    });
    assert_eq!(code, "keyset_unavailable");
    assert_eq!(mesh.upstream.requests(), 0);
}

#[test]
fn a_gateway_that_loses_its_listener_takes_no_older_plugin_afterwards() {
    let mesh = Mesh::new();
    mesh.companion
        .run(&["client", "create", "daily", "--plan", "day"]);
    let (limited, _) = mesh.companion.issue(&["daily"]);
    let (key, id) = mesh.companion.issue(&["acme"]);
    let older = mesh.resource();
    mesh.companion.run(&["key", "revoke", &id]);
    let (setup, file) = mesh.gateway.setup();
    mesh.apply(&file);
    let mut envoy = mesh.launch(setup.listeners_from_file());
    in_force(&envoy, mesh.version());
    let answers = burst(envoy.address(), 10, 1, &get("/v1/a").bearer(&limited));
    assert_eq!(count(&answers, 200), 10);

    // The last Gateway of this proxy is deleted, and comes back with the plugin of last week.
    envoy.listener_file().remove();
    envoy.without_filter();
    file.write(older.to_string());
    envoy.listener_file().restore();
    envoy.look_for_listeners();
    let asking = get("/v1/a").bearer(&key);
    let code = eventually("the new VMs to answer", || envoy.send(&asking).code());
    assert_eq!(code, "keyset_unavailable");
    mesh.apply(&file);
    eventually("the newest plugin to be in force", || {
        (0..20)
            .all(|_| envoy.send(&asking).code().as_deref() == Some("revoked_api_key"))
            .then_some(())
    });
    assert_eq!(envoy.send(&get("/v1/a").bearer(&limited)).status, 429);
}

#[test]
fn a_trap_costs_one_request_and_those_of_the_second_that_istio_waits() {
    let mut mesh = Mesh::new();
    mesh.wasm = write_broken(mesh.companion.dir(), crate::support::fault::trapping);
    let (key, _) = mesh.companion.issue(&["acme"]);
    let (envoy, _) = mesh.start();
    in_force(&envoy, mesh.version());

    assert_eq!(envoy.send(&trapping(&key)).status, 503);
    let asking = get("/v1/a").bearer(&key);
    let mut waited = 0;
    eventually("every worker to answer again", || {
        let answers = burst(envoy.address(), 8, 1, &asking);
        let (good, closed) = (count(&answers, 200), count(&answers, 503));
        assert_eq!(good + closed, 8, "nothing else is answered meanwhile");
        waited += closed;
        (good == 8).then_some(())
    });
    println!("{waited} requests met the worker without its VM");
}
