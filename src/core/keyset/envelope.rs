//! The plugin configuration read in one pass, chunk by chunk: JSON outside, because
//! Istio's `pluginConfig` is JSON, base64url inside.
//!
//! ```json
//! {"format":1,"hmac":"…","kid":"…","manifest":"…","nonce":0,"pages":"…"}
//! ```
//!
//! An overlay also has `"kind":"overlay"`. That is not signed and need not be: it only says in
//! which domain to check the signature.
//!
//! `kid` and `hmac` are comma-separated lists if several keys signed. If any of the signatures is
//! not HMAC-SHA-256, `"alg"` lists the algorithm of each, and `hmac` holds all of them.
//!
//! White space and the order of the fields are free, except that `pages` is last, as in
//! alphabetical order: by then the signature has been checked and the size is known, and the pages
//! are decoded directly to their final place, so that loading needs no second copy of them.
//!
//! If the configuration may be bytes (Envoy's BytesValue), `pages` is left out and the raw pages
//! follow after the closing brace and a line feed: a quarter less to transfer, and nothing to
//! decode.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::key_ring::Signatures;
use super::{ArtefactKind, BaseName, KeysetRefusal, OverlayManifest, Signed, SigningKeys};
use crate::json;

/// Where the bytes come from: the host's buffer in Envoy, a slice elsewhere.
pub trait Source {
    /// How many bytes there are.
    fn size(&self) -> usize;
    /// At most `max` bytes from `offset` on; empty at the end or on an error.
    fn read(&mut self, offset: usize, max: usize) -> Vec<u8>;
}

impl Source for &[u8] {
    fn size(&self) -> usize {
        self.len()
    }

    fn read(&mut self, offset: usize, max: usize) -> Vec<u8> {
        let tail = self.get(offset..).unwrap_or_default();
        tail.get(..max.min(tail.len())).unwrap_or_default().to_vec()
    }
}

/// Bytes read from the source at once.
const CHUNK: usize = 128 * 1024;
/// The longest manifest, encoded.
const MANIFEST_MAX: usize = 64 << 20;
/// Ids and tags of some forty signing keys at once.
const SIGNATURES_MAX: usize = 4096;
/// A multiple of four, so that every piece but the last decodes by itself.
const PIECE: usize = 16_384;

/// Reads and verifies an envelope. `make_room` is called once the signature holds and
/// before memory for the pages is taken.
///
/// # Errors
/// [`KeysetRefusal`]: the same for the same bytes and keys, whoever asks and whenever.
#[inline(never)]
pub fn open(
    source: &mut impl Source,
    keys: &SigningKeys,
    make_room: impl FnOnce(&Signed),
) -> Result<(Signed, Vec<u8>), KeysetRefusal> {
    if source.size() == 0 {
        return Err(KeysetRefusal::Missing);
    }
    let mut scan = Scanner {
        source,
        chunk: Vec::new(),
        at: 0,
        offset: 0,
    };
    let mut fields = Fields::default();
    scan.space();
    scan.expect(b'{')?;
    loop {
        scan.space();
        let name = scan.string(16)?;
        scan.space();
        scan.expect(b':')?;
        scan.space();
        let repeated = match name.as_str() {
            "alg" => fields.alg.replace(scan.string(SIGNATURES_MAX)?).is_some(),
            "format" => fields.format.replace(scan.number()?).is_some(),
            "nonce" => fields.nonce.replace(scan.number()?).is_some(),
            "hmac" => fields.hmac.replace(scan.string(SIGNATURES_MAX)?).is_some(),
            "kid" => fields.kid.replace(scan.string(SIGNATURES_MAX)?).is_some(),
            "kind" => fields.kind.replace(scan.string(16)?).is_some(),
            "manifest" => fields
                .manifest
                .replace(scan.string(MANIFEST_MAX)?)
                .is_some(),
            "pages" => break,
            _ => return Err(KeysetRefusal::UnknownField(name)),
        };
        if repeated {
            return Err(KeysetRefusal::Repeated(name));
        }
        scan.space();
        if scan.peek() == Some(b'}') {
            return raw(scan, fields, keys, make_room);
        }
        scan.expect(b',')?;
    }
    let manifest = fields.verified(keys)?;
    make_room(&manifest);
    let pages = scan.pages(manifest.pages_size()?)?;
    scan.space();
    scan.expect(b'}')?;
    scan.space();
    match scan.peek() {
        None => Ok((manifest, pages)),
        Some(_) => Err(scan.syntax("nothing after the closing brace")),
    }
}

/// The rest of an envelope whose pages follow raw.
#[inline(never)]
fn raw(
    mut scan: Scanner<'_, impl Source>,
    fields: Fields,
    keys: &SigningKeys,
    make_room: impl FnOnce(&Signed),
) -> Result<(Signed, Vec<u8>), KeysetRefusal> {
    scan.expect(b'}')?;
    if scan.peek().is_none() {
        return Err(KeysetRefusal::FieldMissing("pages"));
    }
    scan.expect(b'\n')?;
    let manifest = fields.verified(keys)?;
    make_room(&manifest);
    let size = manifest.pages_size()?;
    if size != scan.left() {
        return Err(KeysetRefusal::Size);
    }
    let mut pages = Vec::new();
    pages
        .try_reserve_exact(size)
        .map_err(|_| KeysetRefusal::Size)?;
    while pages.len() < size {
        let rest = scan.rest();
        if rest.is_empty() {
            return Err(KeysetRefusal::Size);
        }
        let n = rest.len();
        pages.extend_from_slice(rest);
        scan.at += n;
    }
    Ok((manifest, pages))
}

#[derive(Default)]
struct Fields {
    alg: Option<String>,
    format: Option<u64>,
    nonce: Option<u64>,
    hmac: Option<String>,
    kid: Option<String>,
    kind: Option<String>,
    manifest: Option<String>,
}

impl Fields {
    #[inline(never)]
    fn verified(self, keys: &SigningKeys) -> Result<Signed, KeysetRefusal> {
        let missing = KeysetRefusal::FieldMissing;
        let format = self.format.ok_or(missing("format"))?;
        if format != u64::from(super::FORMAT) {
            return Err(KeysetRefusal::Format(format));
        }
        let kid = self.kid.ok_or(missing("kid"))?;
        let hmac = self.hmac.ok_or(missing("hmac"))?;
        let manifest = self.manifest.ok_or(missing("manifest"))?;
        let manifest = URL_SAFE_NO_PAD
            .decode(manifest)
            .map_err(|_| KeysetRefusal::Base64("manifest"))?;
        let kind = match self.kind.as_deref() {
            None => ArtefactKind::Keyset,
            Some("overlay") => ArtefactKind::Overlay,
            Some(other) => return Err(KeysetRefusal::UnknownKind(other.to_owned())),
        };
        let signed = Signatures {
            kids: &kid,
            algorithms: self.alg.as_deref(),
            tags: &hmac,
        };
        keys.verify(kind, &signed, &manifest)?;
        let bad = |e: json::Error| KeysetRefusal::Manifest(e.to_string());
        Ok(match kind {
            ArtefactKind::Keyset => {
                let parsed: Box<super::Manifest> = json::read(&manifest).map_err(bad)?;
                let name = BaseName::from_manifest(parsed.version, &manifest);
                Signed::Keyset(parsed, name)
            }
            ArtefactKind::Overlay => {
                let parsed: Box<OverlayManifest> = json::read(&manifest).map_err(bad)?;
                Signed::Overlay(parsed)
            }
        })
    }
}

/// A parser for the JSON of envelopes only: one flat object of plain strings and numbers.
struct Scanner<'s, S> {
    source: &'s mut S,
    chunk: Vec<u8>,
    at: usize,
    /// Where in the source the chunk ends.
    offset: usize,
}

impl<S: Source> Scanner<'_, S> {
    /// What is left of the chunk; the next one when it is used up; empty at the end.
    fn rest(&mut self) -> &[u8] {
        if self.at >= self.chunk.len() {
            self.chunk = self.source.read(self.offset, CHUNK);
            self.offset += self.chunk.len();
            self.at = 0;
        }
        self.chunk.get(self.at..).unwrap_or_default()
    }

    /// Bytes of the source that were not looked at yet.
    fn left(&self) -> usize {
        let seen = (self.offset - self.chunk.len()).saturating_add(self.at);
        self.source.size().saturating_sub(seen)
    }

    fn peek(&mut self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn syntax(&self, expected: &'static str) -> KeysetRefusal {
        KeysetRefusal::Syntax {
            offset: (self.offset - self.chunk.len()).saturating_add(self.at),
            expected,
        }
    }

    #[inline(never)]
    fn expect(&mut self, byte: u8) -> Result<(), KeysetRefusal> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.syntax(match byte {
            b'{' => "`{`",
            b'}' => "`}` (`pages` comes last)",
            b':' => "`:`",
            b',' => "`,` (or a field has another type)",
            b'\n' => "a line feed and the pages",
            _ => "`\"`",
        }))
    }

    #[inline(never)]
    fn string(&mut self, max: usize) -> Result<String, KeysetRefusal> {
        self.expect(b'"')?;
        let mut out = Vec::new();
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return Err(self.syntax("the end of a string"));
            }
            let end = rest
                .iter()
                .position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
            let n = end.unwrap_or(rest.len());
            out.extend_from_slice(rest.get(..n).unwrap_or_default());
            self.at += n;
            if out.len() > max {
                return Err(self.syntax("a shorter string"));
            }
            if end.is_some() {
                break;
            }
        }
        // Base64url and names need no escapes.
        self.expect(b'"')?;
        String::from_utf8(out).map_err(|_| self.syntax("UTF-8"))
    }

    #[inline(never)]
    fn number(&mut self) -> Result<u64, KeysetRefusal> {
        let mut value: Option<u64> = None;
        while let Some(d @ b'0'..=b'9') = self.peek() {
            let digit = u64::from(d - b'0');
            value = value
                .unwrap_or(0)
                .checked_mul(10)
                .and_then(|v| v.checked_add(digit));
            if value.is_none() {
                break;
            }
            self.at += 1;
        }
        value.ok_or_else(|| self.syntax("a whole number"))
    }

    #[inline(never)]
    fn pages(&mut self, size: usize) -> Result<Vec<u8>, KeysetRefusal> {
        self.expect(b'"')?;
        let mut left = base64::encoded_len(size, false).ok_or(KeysetRefusal::Size)?;
        // Never allocate more than the source can hold.
        if left > self.source.size() {
            return Err(KeysetRefusal::Size);
        }
        let mut out = Vec::new();
        out.try_reserve_exact(size)
            .map_err(|_| KeysetRefusal::Size)?;
        let mut piece = [0u8; PIECE];
        let mut decoded = [0u8; PIECE];
        while left > 0 {
            let want = left.min(PIECE);
            let mut have = 0;
            while have < want {
                let rest = self.rest();
                if rest.is_empty() {
                    return Err(self.syntax("more of `pages`"));
                }
                let n = rest.len().min(want - have);
                let (Some(to), Some(from)) = (piece.get_mut(have..have + n), rest.get(..n)) else {
                    return Err(KeysetRefusal::Size);
                };
                to.copy_from_slice(from);
                have += n;
                self.at += n;
            }
            let text = piece.get(..want).unwrap_or_default();
            let n = URL_SAFE_NO_PAD
                .decode_slice(text, &mut decoded)
                .map_err(|_| KeysetRefusal::Base64("pages"))?;
            out.extend_from_slice(decoded.get(..n).unwrap_or_default());
            left -= want;
        }
        self.expect(b'"')?;
        if out.len() == size {
            Ok(out)
        } else {
            Err(KeysetRefusal::Size)
        }
    }
}
