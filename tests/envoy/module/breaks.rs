//! A build of the module that breaks where a file says (`scripts/build faults`).

use std::fs;
use std::path::PathBuf;

use crate::fixture::Keys;
use crate::support::{
    EcdsFile, Envoy, Push, Request, Setup, Upstream, eventually, get, raw::Raw, shell,
};
use crate::tunnels::WebSocket;

const POLICY: &str = "version: 1\nroutes:\n- {path: \"/v1/{*rest}\"}\n";

struct Case {
    envoy: Envoy,
    keys: Keys,
    key: String,
    fault: PathBuf,
}

impl Case {
    fn new(policy: &str, setup: Setup) -> Self {
        let mut keys = Keys::new(policy);
        let key = keys.issue("acme");
        let fault = setup.dir().join("fault");
        let setup = setup
            .signing_keys(&keys.signing_keys())
            .environment("KEYSTILE_FAULT", &fault.display().to_string());
        setup.ecds_file().write(response(&mut keys));
        let envoy = Envoy::start(setup);
        Self {
            envoy,
            keys,
            key,
            fault,
        }
    }

    fn push(&mut self) -> Push {
        let response = response(&mut self.keys);
        self.envoy.push(|file| file.write(response))
    }

    /// The next call of this entry breaks.
    fn breaks(&self, entry: &str) {
        let beside = self.fault.with_extension("new");
        fs::write(&beside, entry).unwrap();
        fs::rename(&beside, &self.fault).unwrap();
    }

    fn asking(&self) -> Request {
        get("/v1/a").bearer(&self.key)
    }

    /// Once it has broken there: a key is let in, and nothing else.
    fn goes_on(&self, entry: &str) {
        eventually("it to break", || (!self.fault.exists()).then_some(()));
        for _ in 0..4 {
            assert_eq!(self.envoy.send(&self.asking()).status, 200, "{entry}");
            assert_eq!(self.envoy.send(&get("/v1/a")).status, 401, "{entry}");
        }
        let words = format!("a mistake in `{entry}`");
        eventually("the log to say so", || {
            self.envoy.log().contains(&words).then_some(())
        });
    }
}

fn response(keys: &mut Keys) -> String {
    let response = EcdsFile::response(&keys.sealed()).to_string();
    response.replace("target/dist/keystile.wasm", "/broken.wasm")
}

#[test]
fn a_panic_in_a_request_costs_that_request_and_no_other() {
    if !shell::is_module() {
        return;
    }
    let upstream = Upstream::start();
    let case = Case::new(POLICY, Setup::ecds(&upstream));
    for entry in ["filter_new", "request_headers"] {
        case.breaks(entry);
        let before = upstream.requests();
        let answer = case.envoy.send(&case.asking());
        assert_eq!(answer.status, 503, "{entry}");
        let line = case.envoy.access_line(|line| line["status"] == 503);
        assert_eq!(line["reason"], "keystile:internal_error", "{entry}");
        assert_eq!(upstream.requests(), before, "{entry}");
        case.goes_on(entry);
    }
    for entry in ["response_headers", "filter_destroy"] {
        case.breaks(entry);
        assert_eq!(case.envoy.send(&case.asking()).status, 200, "{entry}");
        case.goes_on(entry);
    }
}

#[test]
fn a_panic_at_trailers_sends_none_on() {
    if !shell::is_module() {
        return;
    }
    let upstream = Raw::start();
    let case = Case::new(POLICY, upstream.behind());
    case.breaks("request_trailers");
    let request = format!(
        "POST /v1/a HTTP/1.1\r\nhost: api.example.com\r\nauthorization: Bearer {}\r\n\
         transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-keystile-client: root\r\n\r\n",
        case.key
    );
    let mut client = case.envoy.client();
    client.write(request.as_bytes()).unwrap();
    let answer = client.read("POST").map(|answer| answer.status);
    assert!(!matches!(answer, Ok(200)), "{answer:?}");
    let seen = upstream.seen();
    assert!(
        !seen
            .iter()
            .any(|part| part.contains("x-keystile-client: root")),
        "{seen:?}"
    );
    case.goes_on("request_trailers");
}

#[test]
fn a_panic_of_a_configuration_leaves_the_last_good_one_in_force() {
    if !shell::is_module() {
        return;
    }
    let upstream = Upstream::start();
    let mut case = Case::new(POLICY, Setup::ecds(&upstream));
    case.breaks("config_new");
    assert_eq!(case.push(), Push::Refused);
    case.goes_on("config_new");
    case.breaks("config_destroy");
    assert_eq!(case.push(), Push::Applied);
    case.goes_on("config_destroy");
    case.breaks("config_scheduled");
    case.goes_on("config_scheduled");
    let key = case.key.clone();
    case.keys.revoke(&key);
    assert_eq!(case.push(), Push::Applied);
    assert_eq!(case.envoy.send(&case.asking()).status, 401);
}

#[test]
fn a_panic_at_the_answer_to_a_report_is_not_the_end_of_reports() {
    if !shell::is_module() {
        return;
    }
    let (upstream, control) = (Upstream::start(), Upstream::start());
    let policy = format!("{POLICY}report: {{ cluster: control, every: 1s }}\n");
    let setup = Setup::ecds(&upstream).control(control.address());
    let case = Case::new(&policy, setup);
    case.breaks("config_http_callout_done");
    case.goes_on("config_http_callout_done");
    let before = control.requests();
    eventually("another report", || {
        (control.requests() > before).then_some(())
    });
}

#[test]
fn a_panic_at_the_end_of_a_tunnel_ends_it() {
    if !shell::is_module() {
        return;
    }
    let upstream = Raw::start();
    let mut case = Case::new(POLICY, upstream.behind());
    let doomed = case.keys.issue("acme");
    assert_eq!(case.push(), Push::Applied);
    let mut socket = WebSocket::open(&case.envoy, &doomed, "");
    assert!(socket.echoes("hello"));
    case.breaks("scheduled");
    case.keys.revoke(&doomed);
    assert_eq!(case.push(), Push::Applied);
    case.goes_on("scheduled");
    socket.ends();
}

/// As Envoy does where it finds no memory itself.
#[test]
fn memory_that_runs_out_in_a_reply_ends_envoy_and_lets_nobody_in() {
    if !shell::is_module() {
        return;
    }
    let upstream = Upstream::start();
    let mut case = Case::new(POLICY, Setup::ecds(&upstream));
    assert_eq!(case.envoy.send(&case.asking()).status, 200);
    case.breaks("request_headers memory");
    let answer = case.envoy.client().try_send(&get("/v1/a"));
    assert!(answer.is_err(), "{answer:?}");
    assert!(!case.envoy.ended().success());
    assert!(case.envoy.log().contains("memory allocation of"));
    assert_eq!(upstream.requests(), 1);
}
