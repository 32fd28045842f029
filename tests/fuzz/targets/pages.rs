//! Pages of a keyset with any bytes, under digests that match: what a store could have signed by
//! mistake. Lookups end, and a key that is found is the one that was asked for.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile_core::keyset::{ArtefactKind, Built, Keyset, Lookup};
use keystile_fuzz::{bounded, built, content, signer, signers};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

const POLICY: &str = r#"{"version":1,"realm":"api","environments":["live"],"plans":{},
  "routes":[{"path":"/{*rest}","scopes":["read"]}]}"#;
/// Bytes of a page, of a record and of a digest's first half.
const PAGE: usize = 4096;
const RECORD: usize = 32;
const PREFIX: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let Some((keys, rest)) = bytes.split_first() else {
        return;
    };
    let keys = usize::from(*keys).min(rest.len() / RECORD);
    let (index, heap) = rest.split_at(keys * RECORD);
    let built = with_pages(index, heap);
    bounded(|| {
        let text = built.seal_raw(&[signer()], 0);
        let Ok(keyset) = Keyset::load(&mut &text[..], &signers(), |_| {}) else {
            return;
        };
        assert_eq!(keyset.len(), keys);
        for record in index.chunks(RECORD) {
            let prefix = record[..PREFIX].try_into().expect("sixteen bytes");
            if let Lookup::Found(entry) = keyset.lookup(&prefix) {
                let same = index.chunks(RECORD).filter(|r| r[..PREFIX] == prefix);
                assert!(
                    same.clone().any(|r| r[PREFIX..PREFIX + 8] == entry.id.as_u64().to_le_bytes()
                        || r[PREFIX..PREFIX + 8] == entry.id.as_u64().to_be_bytes()),
                    "another key than the one that was asked for"
                );
                assert!(entry.scopes().count() <= heap.len());
                assert!(entry.limits().count() <= heap.len());
                assert!(entry.allow().count() + entry.deny().count() <= heap.len());
                assert!(entry.origins().count() + entry.certificates().count() <= heap.len());
            }
        }
        assert!(keyset.entries().count() <= keys);
        assert_eq!(keyset.corrupt_pages(), 0, "the digests match");
    });
});

/// Index and heap with a directory that fits, in a manifest that names it.
fn with_pages(index: &[u8], heap: &[u8]) -> Built {
    let firsts = index.chunks(PAGE).flat_map(|page| page[..PREFIX].to_vec());
    let mut directory: Vec<u8> = firsts.collect();
    for page in index.chunks(PAGE).chain(heap.chunks(PAGE)) {
        directory.extend(Sha256::digest(page));
    }
    let mut built = built(&content(POLICY, Vec::new()));
    let mut manifest: serde_json::Value = serde_json::from_slice(&built.manifest).expect("JSON");
    manifest["keys"] = (index.len() / RECORD).into();
    manifest["heap"] = heap.len().into();
    manifest["directory"] = URL_SAFE_NO_PAD.encode(Sha256::digest(&directory)).into();
    manifest["environments"] = serde_json::json!(["live"]);
    built.manifest = serde_json::to_vec(&manifest).expect("JSON");
    built.kind = ArtefactKind::Keyset;
    built.pages = [&directory[..], index, heap].concat();
    built
}
