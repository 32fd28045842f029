//! gRPC: refusals arrive as statuses that a gRPC client understands.

use crate::fixture::{Keys, id};
use crate::support::{Envoy, Setup, Upstream, get, request, shell};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_health::server::health_reporter;

const POLICY: &str = r#"
version: 1
realm: grpc.example.com
plans:
  thrice: { limits: [{ requests: 3, per: 1d }] }
routes:
  - { path: /grpc.health.v1.Health/Check, methods: [POST] }
  - { path: /grpc.health.v1.Health/Watch, methods: [POST], scopes: ["watch"] }
"#;

#[test]
fn a_grpc_client_gets_its_answer_or_a_grpc_status() {
    let service = Service::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue_on("acme", "thrice");
    let revoked = keys.issue_with("acme", |row| row.revoked = true);
    let envoy = keys.start_on(service.behind());
    let calls = Calls::connect(&envoy);

    calls.check(Some(&key)).unwrap();

    let missing = calls.check(None).unwrap_err();
    assert_eq!(missing.code(), Code::Unauthenticated);
    assert_eq!(missing.message(), "Send your API key with the request.");
    let challenge = missing.metadata().get("www-authenticate").unwrap();
    assert!(
        challenge
            .to_str()
            .unwrap()
            .contains(r#"realm="grpc.example.com""#)
    );

    let dead = calls.check(Some(&revoked)).unwrap_err();
    assert_eq!(dead.code(), Code::Unauthenticated);
    assert_eq!(
        dead.message(),
        "This API key was revoked. Ask for a new one."
    );

    let scope = calls.watch(&key).unwrap_err();
    assert_eq!(scope.code(), Code::PermissionDenied);

    calls.check(Some(&key)).unwrap();
    calls.check(Some(&key)).unwrap();
    let limited = calls.check(Some(&key)).unwrap_err();
    assert_eq!(limited.code(), Code::ResourceExhausted);
    let fields: &MetadataMap = limited.metadata();
    assert_eq!(fields.get("retry-after").unwrap(), "28800");
    assert_eq!(
        fields.get("ratelimit-policy").unwrap(),
        r#""thrice";q=3;w=86400"#
    );

    let line = envoy.access_line(|line| line["reason"] == "keystile:rate_limited");
    assert_eq!(line["grpc_status"], "ResourceExhausted");
    assert_eq!(line["key"], id(&key).to_string());
}

/// Envoy looks at the content type alone, and words our refusal as gRPC: HTTP 200, which a cache may keep.
#[test]
fn a_request_that_only_says_grpc_has_its_refusal_in_http() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let revoked = keys.issue_with("acme", |row| row.revoked = true);
    let envoy = keys.start(&upstream);
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        for (key, status, reason) in [
            (None, 403, "keystile:route_denied"),
            (Some(&revoked), 403, "keystile:route_denied"),
        ] {
            let mut asked = request(method, "/grpc.health.v1.Health/Check");
            if let Some(key) = key {
                asked = asked.bearer(key);
            }
            let answer = envoy.send(&asked.header("content-type", "application/grpc"));
            assert_eq!(answer.status, status, "{method}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("grpc-status"), None);
            let line = envoy.access_line(|line| line["method"] == method);
            // The module cannot say it there: filter state has it.
            let told = if shell::is_module() { "" } else { reason };
            assert_eq!(line["reason"], told);
            assert_eq!(line["status"], status);
        }
    }
    let answer = envoy.send(&get("/nowhere"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn before_the_first_keyset_a_grpc_client_is_told_unavailable_or_internal() {
    let service = Service::start();
    let envoy = Envoy::start(service.behind());

    let closed = Calls::connect(&envoy).check(None).unwrap_err();

    // Envoy's own 500: the filter is not there yet.
    assert!(
        matches!(
            closed.code(),
            Code::Internal | Code::Unknown | Code::Unavailable
        ),
        "{closed}"
    );
}

/// A real gRPC server, in a runtime of its own.
pub struct Service {
    _runtime: Runtime,
    port: u16,
}

impl Service {
    pub fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        // The server's own health is "serving" from the start.
        let (_, health) = health_reporter_and_service();
        let server = Server::builder().add_service(health);
        runtime.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Self {
            _runtime: runtime,
            port,
        }
    }

    /// `ecds-file.yaml` in front of it, speaking HTTP/2 to the upstream.
    pub fn behind(&self) -> Setup {
        let unused = Upstream::start();
        let port = unused.address().port();
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        Setup::ecds(&unused)
            .edit(&format!("port_value: {port}"), &format!("port_value: {}", self.port))
            .edit(
                "    type: STATIC",
                &format!(
                    "    type: STATIC\n    typed_extension_protocol_options:\n      {options}:\n        \
                     \"@type\": type.googleapis.com/{options}\n        \
                     explicit_http_config: {{http2_protocol_options: {{}}}}"
                ),
            )
    }
}

fn health_reporter_and_service() -> (
    tonic_health::server::HealthReporter,
    tonic_health::pb::health_server::HealthServer<impl tonic_health::pb::health_server::Health>,
) {
    health_reporter()
}

/// A real gRPC client, without a runtime around the test.
struct Calls {
    runtime: Runtime,
    channel: Channel,
}

impl Calls {
    fn connect(envoy: &Envoy) -> Self {
        let runtime = Runtime::new().unwrap();
        let endpoint = Channel::from_shared(format!("http://{}", envoy.address())).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Self { runtime, channel }
    }

    fn check(&self, key: Option<&str>) -> Result<(), Status> {
        let mut client = HealthClient::new(self.channel.clone());
        let call = client.check(Self::request(key));
        self.runtime.block_on(call).map(|_| ())
    }

    fn watch(&self, key: &str) -> Result<(), Status> {
        let mut client = HealthClient::new(self.channel.clone());
        let call = client.watch(Self::request(Some(key)));
        self.runtime.block_on(call).map(|_| ())
    }

    fn request(key: Option<&str>) -> Request<HealthCheckRequest> {
        let mut request = Request::new(HealthCheckRequest::default());
        if let Some(key) = key {
            let value = format!("Bearer {key}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        request
    }
}
