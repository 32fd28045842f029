//! Paths: what other servers make of a path is among its readings, or the path is refused.
#![no_main]

use keystile_core::request::path::{readings, split_query};
use keystile_fuzz::readers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    keystile_fuzz::bounded(|| {
        let (path, _) = split_query(bytes);
        let Ok(found) = readings(path) else {
            return;
        };
        assert_eq!(found.agree(), found.others().next().is_none());
        let all: Vec<Vec<u8>> = core::iter::once(found.as_sent())
            .chain(found.others())
            .map(plain)
            .collect();
        for read in readers::PATHS {
            let seen = plain_bytes(&read(path));
            assert!(
                all.contains(&seen),
                "{:?} is read as {:?}, not among {:?}",
                String::from_utf8_lossy(path),
                String::from_utf8_lossy(&seen),
                all.iter().map(|a| String::from_utf8_lossy(a)).collect::<Vec<_>>()
            );
        }
        // Readings are in normal form: reading them again adds none.
        for other in found.others() {
            if let Ok(again) = readings(other.as_bytes()) {
                assert_eq!(again.as_sent(), other);
            }
        }
    });
});

/// A reading without its escapes and without a slash at the end: readers differ in what they write
/// as an escape, and all of ours tidy slashes.
fn plain(reading: &str) -> Vec<u8> {
    plain_bytes(reading.as_bytes())
}

fn plain_bytes(path: &[u8]) -> Vec<u8> {
    let decoded = readers::unescaped(path);
    let bare = decoded.strip_suffix(b"/").unwrap_or(&decoded);
    bare.to_vec()
}
