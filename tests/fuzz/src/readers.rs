//! Readers of hosts and paths as servers write them, which share no code with ours.

/// A path as a Java servlet container reads it: segments are cut at `;`, decoded, and dots are
/// resolved.
pub fn servlet(path: &[u8]) -> Vec<u8> {
    let cut: Vec<Vec<u8>> = path
        .split(|b| *b == b'/')
        .map(|s| unescaped(s.split(|b| *b == b';').next().unwrap_or_default()))
        .collect();
    resolve(&cut.join(&b'/'))
}

/// As a file server does: decoded first, backslashes are slashes, then dots are resolved.
pub fn file_server(path: &[u8]) -> Vec<u8> {
    let decoded: Vec<u8> = unescaped(path)
        .into_iter()
        .map(|b| if b == b'\\' { b'/' } else { b })
        .collect();
    resolve(&decoded)
}

/// As a server behind a proxy that decodes once itself.
pub fn decoded_twice(path: &[u8]) -> Vec<u8> {
    resolve(&unescaped(&unescaped(path)))
}

/// As a file system that ignores the case of letters.
pub fn caseless(path: &[u8]) -> Vec<u8> {
    resolve(&path.to_ascii_lowercase())
}

/// As a router that takes the target literally.
pub fn literal(path: &[u8]) -> Vec<u8> {
    path.to_vec()
}

/// A reader of paths.
pub type Reader = fn(&[u8]) -> Vec<u8>;

/// Those that tell letters in upper and lower case apart.
pub const PATHS: [Reader; 4] = [servlet, file_server, decoded_twice, literal];

/// A text with its escapes decoded once.
pub fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|d| {
            let digit = |b: u8| (b as char).to_digit(16);
            Some((digit(d[0])? * 16 + digit(d[1])?) as u8)
        });
        rest = match (first, digits) {
            (b'%', Some(byte)) => {
                out.push(byte);
                &tail[2..]
            }
            _ => {
                out.push(*first);
                tail
            }
        };
    }
    out
}

fn resolve(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(out.pop()),
            part => out.push(part),
        }
    }
    let mut joined = vec![b'/'];
    joined.extend(out.join(&b'/'));
    joined
}

/// A host as most servers take it: without what stands before `@`, without port and final dot, in
/// lower case.
pub fn host(authority: &[u8]) -> Vec<u8> {
    let lower = authority.to_ascii_lowercase();
    let after = lower.rsplit(|b| *b == b'@').next().unwrap_or_default();
    let bare = match after.iter().rposition(|b| *b == b':') {
        Some(at) if after[at + 1..].iter().all(u8::is_ascii_digit) => &after[..at],
        _ => after,
    };
    bare.strip_suffix(b".").unwrap_or(bare).to_vec()
}
