//! That the messages which the companion and its tests write by hand are Envoy's: each is
//! encoded with every field set, and read by what Envoy's API says of it
//! (`tests/vectors/proto`). A wrong number, type or name is a field that the texts do not
//! declare so.

mod samples;
mod text;
mod wire;

use std::fs;
use std::path::Path;

use keystile_tests::proxy::proto;
use samples::samples;
use text::Texts;

use crate::proto::discovery::{ADS_DELTA, ADS_SOTW, ECDS_DELTA, ECDS_SOTW};
use crate::proto::ratelimit::{Code, SHOULD_RATE_LIMIT};
use crate::proto::wasm::FailurePolicy;

/// Where the messages are written.
const SOURCES: [&str; 2] = ["src/render/proto", "tests/harness/proxy/proto"];

fn sources() -> String {
    let mut all = String::new();
    for folder in SOURCES {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(folder);
        for file in fs::read_dir(folder).unwrap() {
            all += &fs::read_to_string(file.unwrap().path()).unwrap();
        }
    }
    all
}

#[test]
fn what_is_encoded_reads_as_envoys_api_says() {
    let texts = Texts::read();
    for sample in samples() {
        let name = &sample.name;
        let found = texts.decode(&format!(".{name}"), &sample.bytes);
        assert_eq!(found.as_ref(), Ok(&sample.want), "{name}");
    }
}

/// What is left at its default is not encoded, and would not be compared.
#[test]
fn every_message_has_a_sample_with_every_field_set() {
    let shown: String = samples().iter().map(|s| format!("{}\n", s.shown)).collect();
    for unset in [
        ": None",
        ": 0,",
        ": 0 ",
        ": \"\"",
        ": []",
        ": {}",
        ": Unspecified",
        ": Unknown",
    ] {
        assert!(!shown.contains(unset), "`{unset}` in {shown}");
    }
    let sources = sources();
    let messages = after(&sources, "prost::Message)]");
    assert!(messages.len() >= 30, "{} messages", messages.len());
    for message in messages {
        let name = message.strip_prefix("pub struct ").unwrap();
        let name = name.split(' ').next().unwrap();
        assert!(shown.contains(&format!("{name} {{")), "no sample of {name}");
    }
    for oneof in after(&sources, "prost::Oneof)]") {
        let body = oneof.split_once('{').unwrap().1;
        for line in body.lines().take_while(|l| *l != "}") {
            let Some((variant, _)) = line.trim().split_once('(').filter(|(v, _)| is_name(v)) else {
                continue;
            };
            assert!(shown.contains(&format!("{variant}(")), "no {variant}");
        }
    }
}

/// What follows each of these marks.
fn after<'a>(text: &'a str, mark: &str) -> Vec<&'a str> {
    text.split(mark).skip(1).map(str::trim_start).collect()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
}

#[test]
fn enums_and_methods_are_envoys() {
    let texts = Texts::read();
    let policies = &texts.enums[".envoy.extensions.wasm.v3.FailurePolicy"];
    for (policy, name) in [
        (FailurePolicy::Unspecified, "UNSPECIFIED"),
        (FailurePolicy::FailReload, "FAIL_RELOAD"),
    ] {
        assert_eq!(policies[name], i32::from(policy));
    }
    let codes = &texts.enums[".envoy.service.ratelimit.v3.RateLimitResponse.Code"];
    for (code, name) in [
        (Code::Unknown, "UNKNOWN"),
        (Code::Ok, "OK"),
        (Code::OverLimit, "OVER_LIMIT"),
    ] {
        assert_eq!(codes[name], i32::from(code));
    }
    let service = "envoy.service.discovery.v3";
    let sotw = ["DiscoveryRequest", "DiscoveryResponse"];
    let delta = ["DeltaDiscoveryRequest", "DeltaDiscoveryResponse"];
    for (method, messages) in [
        (ECDS_SOTW, sotw),
        (ADS_SOTW, sotw),
        (ECDS_DELTA, delta),
        (ADS_DELTA, delta),
    ] {
        let want = messages.map(|m| format!("stream .{service}.{m}"));
        assert_eq!(texts.methods[method], want, "{method}");
    }
    let want = ["RateLimitRequest", "RateLimitResponse"];
    let want = want.map(|m| format!(".envoy.service.ratelimit.v3.{m}"));
    assert_eq!(texts.methods[SHOULD_RATE_LIMIT], want);
}

#[test]
fn every_origin_that_a_comment_names_is_among_the_texts() {
    let texts = Texts::read();
    let sources = sources();
    let named: Vec<_> = sources
        .split('`')
        .filter(|word| word.ends_with(".proto"))
        .collect();
    assert!(named.len() >= 30, "{named:?}");
    for origin in named {
        assert!(texts.origins.contains(origin), "{origin}");
    }
}
