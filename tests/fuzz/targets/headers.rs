//! Headers as the host hands them over: any bytes read as the pairs that are whole, in both forms.
#![no_main]

use keystile_core::request::headers::{Headers, Pair};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    keystile_fuzz::bounded(|| {
        let read: Vec<Pair<'_>> = Headers::new(bytes).iter().collect();
        assert_eq!(read, whole(bytes));
        let listed: Vec<Pair<'_>> = Headers::from_pairs(&read).iter().collect();
        assert_eq!(listed, read);
        for (name, value) in &read {
            let Ok(name) = str::from_utf8(name) else {
                continue;
            };
            let first = read.iter().find(|(n, _)| *n == name.as_bytes());
            assert_eq!(Headers::new(bytes).get(name), first.map(|f| f.1));
            assert!(bytes.len() >= value.len());
        }
    });
});

/// The same, from the description of proxy-wasm's serialised map, with a cursor.
fn whole(bytes: &[u8]) -> Vec<Pair<'_>> {
    let number = |at: usize| {
        let four = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(four.try_into().ok()?) as usize)
    };
    let mut out = Vec::new();
    let Some(count) = number(0) else {
        return out;
    };
    // Lengths that are not all there are no map.
    if count > bytes.len() / 8 || 4 + count * 8 > bytes.len() {
        return out;
    }
    let mut cursor = 4 + count * 8;
    for pair in 0..count {
        let mut text = |which: usize| {
            let length = number(4 + pair * 8 + which * 4)?;
            let text = bytes.get(cursor..cursor.checked_add(length)?)?;
            // Each is followed by NUL.
            bytes.get(cursor + length)?;
            cursor += length + 1;
            Some(text)
        };
        match (text(0), text(1)) {
            (Some(name), Some(value)) => out.push((name, value)),
            _ => break,
        }
    }
    out
}
