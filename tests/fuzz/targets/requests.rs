//! Whole requests: whatever a caller sends, nobody without the living key reaches what needs one,
//! as any of several servers reads it, and nobody passes for somebody else.
#![no_main]

use std::sync::OnceLock;

use keystile_core::decide::{Clocks, Note, Request, decide};
use keystile_core::keyset::{InForce, Keyset};
use keystile_core::limit::bucket::MemoryBuckets;
use keystile_core::request::certificate::Peer;
use keystile_core::request::headers::Headers;
use keystile_fuzz::{NOW, bounded, built, content, key, readers, row, signer, signers};
use libfuzzer_sys::fuzz_target;

/// `/private` and everything below it, and hosts below `corp.test`, need a key; all else is open.
const POLICY: &str = r#"{"version":1,"realm":"api","environments":["live"],
  "credentials":[{"header":"x-api-key"},{"header":"authorization","scheme":"Bearer"},{"query":"api_key"},{"cookie":"key"}],
  "plans":{},
  "routes":[
    {"path":"/private/{*rest}","scopes":["read"]},
    {"path":"/private","scopes":["read"]},
    {"path":"/{*rest}","hosts":["*.corp.test"],"scopes":["read"]},
    {"path":"/{*rest}","auth":"none"}
  ]}"#;

struct World {
    keyset: InForce,
    texts: [String; 4],
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let [living, revoked, unknown, expired] = [1, 2, 3, 4].map(key);
        let mut rows = vec![row(&living), row(&revoked), row(&expired)];
        rows[1].revoked = true;
        rows[2].expires = Some(NOW - 1);
        let text = built(&content(POLICY, rows)).seal(&[signer()], 0);
        let keyset = Keyset::load(&mut text.as_bytes(), &signers(), |_| {});
        World {
            keyset: keyset.ok().expect("it was built for this").into(),
            texts: [living, revoked, unknown, expired].map(|k| k.text.expose_secret().to_owned()),
        }
    })
}

/// One header a line. The bytes 1 to 4 stand for a key: living, revoked, unknown, expired.
fn pairs(input: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    for line in input.split(|b| *b == b'\n') {
        let from = usize::from(line.first() == Some(&b':'));
        let Some(colon) = line.iter().skip(from).position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon + from);
        let mut text = Vec::new();
        for byte in &value[1..] {
            match byte {
                1..=4 => text.extend(world().texts[usize::from(byte - 1)].as_bytes()),
                0 | b'\r' => {}
                byte => text.push(*byte),
            }
        }
        out.push((name.to_ascii_lowercase(), text));
    }
    out
}

fuzz_target!(|input: &[u8]| {
    let pairs = pairs(input);
    bounded(|| {
        let bytes = Headers::encode(&pairs);
        let request = Request {
            headers: Headers::new(&bytes),
            address: None,
            peer: Peer::default(),
            tls: false,
            virtual_host: None,
        };
        let clocks = Clocks {
            wall: NOW,
            monotonic: 1 << 40,
        };
        let keyset = &world().keyset;
        let mut notes: Vec<Note> = Vec::new();
        let decision = decide(Ok(keyset), &request, clocks, || None, &mut MemoryBuckets::default(), &mut notes);
        let quiet = decide(Ok(keyset), &request, clocks, || None, &mut MemoryBuckets::default(), &mut ());
        assert_eq!(decision.code(), quiet.code(), "tracing changes nothing");
        if decision.verdict.is_err() {
            return;
        }
        if let Some(entry) = &decision.entry {
            assert!(input.contains(&1), "a key that was not sent was let in");
            assert!(!entry.revoked && entry.expires.is_none_or(|e| e > NOW));
            return;
        }
        let first = |name: &[u8]| pairs.iter().find(|(n, _)| n == name).map(|p| &p.1[..]);
        let target = first(b":path").unwrap_or_default();
        let path = target.split(|b| *b == b'?').next().unwrap_or_default();
        for read in readers::PATHS.into_iter().chain([readers::caseless as readers::Reader]) {
            let seen = read(path);
            assert!(
                seen != b"/private" && !seen.starts_with(b"/private/"),
                "{:?} was let in without a key",
                String::from_utf8_lossy(path)
            );
        }
        for name in [&b":authority"[..], b"host"] {
            let seen = readers::host(first(name).unwrap_or_default());
            assert!(!seen.ends_with(b".corp.test"), "a protected host was let in without a key");
        }
    });
});
