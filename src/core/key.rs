//! The key string: `<brand>_<env>_<id><secret><checksum>`.
//!
//! * `id`: 10 base62 digits, public, fit for logs;
//! * `secret`: 43 base62 digits, 256.03 bits from the caller's entropy;
//! * `checksum`: CRC-32 (IEEE 802.3) of everything before it, 6 base62 digits,
//!   so that scanners and the filter refuse typing errors without hashing.
//!
//! What is hashed is `id` + `secret`: 53 bytes, which fit one SHA-256 block
//! (55 bytes). Brand and environment are not under the digest; they are compared
//! with what the entry says instead ([`crate::decide`]), so nobody gains by editing
//! them. A foreign (imported) key is hashed whole.

mod base62;
mod crc32;

use core::fmt;
use core::str::FromStr;

use crate::advice::Advice;
use base62::{ALPHABET, NO_DIGIT, base62_into, base62_value, digit};
use crc32::crc32;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The longest key, ours or foreign, that is considered, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

const ID_DIGITS: usize = 10;
const SECRET_DIGITS: usize = 43;
const CHECKSUM_DIGITS: usize = 6;
/// How many digits follow `<brand>_<environment>_`: id, secret and checksum.
pub const BODY_DIGITS: usize = ID_DIGITS + SECRET_DIGITS + CHECKSUM_DIGITS;
const NAME_MAX: usize = 16;

/// A brand or an environment: `[a-z0-9]{1,16}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The text is not `[a-z0-9]{1,16}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError(String);

impl NameError {
    /// The fact and the next step.
    pub fn advice(&self) -> Advice {
        Advice::new(
            format!("`{}` is not a name", self.0),
            "use 1 to 16 of `a-z` and `0-9`",
        )
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.advice().fmt(f)
    }
}

impl std::error::Error for NameError {}

impl From<NameError> for Advice {
    fn from(e: NameError) -> Self {
        e.advice()
    }
}

impl Name {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        if is_name(s.as_bytes()) {
            Ok(Self(s.to_owned()))
        } else {
            Err(NameError(s.chars().take(40).collect()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_name(b: &[u8]) -> bool {
    (1..=NAME_MAX).contains(&b.len())
        && b.iter()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// The public id of a key: ten base62 digits, here as the number they spell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

/// The text is not a key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIdError;

impl fmt::Display for KeyIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key id is ten of `0-9A-Za-z`")
    }
}

impl std::error::Error for KeyIdError {}

impl From<KeyIdError> for Advice {
    fn from(e: KeyIdError) -> Self {
        e.to_string().into()
    }
}

impl KeyId {
    /// The number that the ten digits spell; below 62^10.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The id spelled by a number; `None` at 62^10 and above.
    pub fn from_u64(n: u64) -> Option<Self> {
        (n < 62u64.pow(ID_DIGITS as u32)).then_some(Self(n))
    }

    /// The ten digits.
    pub fn digits(self) -> [u8; ID_DIGITS] {
        let mut out = [b'0'; ID_DIGITS];
        base62_into(self.0, &mut out);
        out
    }

    /// A random id, for keys whose text does not hold one (imported keys).
    ///
    /// # Errors
    /// Those of `entropy`.
    pub fn random<E>(mut entropy: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut digits = [b'0'; ID_DIGITS];
        random_digits(&mut digits, &mut entropy)?;
        Ok(Self(base62_value(&digits).unwrap_or(0)))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for d in self.digits() {
            fmt::Write::write_char(f, char::from(d))?;
        }
        Ok(())
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(s: &str) -> Result<Self, KeyIdError> {
        let digits: &[u8; ID_DIGITS] = s.as_bytes().try_into().map_err(|_| KeyIdError)?;
        base62_value(digits).map(Self).ok_or(KeyIdError)
    }
}

/// SHA-256 of what identifies a key: `id` + `secret` of ours, the whole text of a
/// foreign one.
///
/// A slow hash protects guessable secrets; 256 random bits are not guessable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a foreign key: of all its bytes.
    pub fn of_foreign(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// The part that the keyset's index holds: the first 16 bytes.
    pub fn prefix(&self) -> Prefix {
        let mut p = [0; 16];
        p.iter_mut().zip(self.0).for_each(|(p, d)| *p = d);
        p
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// The first 128 bits of a [`Digest`]. To find a second text with one of a million
/// given prefixes takes some 2^108 hashes.
pub type Prefix = [u8; 16];

/// A key in full. No `Debug`, no `Display`; wiped when dropped.
pub struct KeyText(Zeroizing<String>);

impl KeyText {
    /// The secret text, to be shown once and then forgotten.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }

    /// Wraps a key that a person typed, for `explain`.
    pub fn from_input(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// A freshly made key: the text for its holder, the rest for the store.
pub struct Fresh {
    /// The key itself.
    pub text: KeyText,
    /// Its public id.
    pub id: KeyId,
    /// What the store keeps about it.
    pub digest: Digest,
}

/// Makes a key from the system's randomness, which is an argument.
///
/// # Errors
/// Those of `entropy`.
pub fn generate<E>(
    brand: &Name,
    environment: &Name,
    mut entropy: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Fresh, E> {
    let mut body = Zeroizing::new([b'0'; ID_DIGITS + SECRET_DIGITS]);
    random_digits(body.as_mut_slice(), &mut entropy)?;
    Ok(assembled(brand, environment, &body))
}

/// The same with a given id: for bulk issuing, where the caller chooses and sorts the ids.
///
/// # Errors
/// Those of `entropy`.
pub fn generate_as<E>(
    id: KeyId,
    brand: &Name,
    environment: &Name,
    mut entropy: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Fresh, E> {
    let mut body = Zeroizing::new([b'0'; ID_DIGITS + SECRET_DIGITS]);
    let (digits, secret) = body.split_at_mut(ID_DIGITS);
    digits.copy_from_slice(&id.digits());
    random_digits(secret, &mut entropy)?;
    Ok(assembled(brand, environment, &body))
}

fn assembled(
    brand: &Name,
    environment: &Name,
    body: &Zeroizing<[u8; ID_DIGITS + SECRET_DIGITS]>,
) -> Fresh {
    let mut text = String::with_capacity(2 * (NAME_MAX + 1) + BODY_DIGITS);
    text.push_str(brand.as_str());
    text.push('_');
    text.push_str(environment.as_str());
    text.push('_');
    text.extend(body.iter().map(|&b| char::from(b)));
    let mut checksum = [b'0'; CHECKSUM_DIGITS];
    base62_into(u64::from(crc32(text.as_bytes())), &mut checksum);
    text.extend(checksum.iter().map(|&b| char::from(b)));

    let (id, _) = body.split_at(ID_DIGITS);
    Fresh {
        text: KeyText(Zeroizing::new(text)),
        id: KeyId(base62_value(id).unwrap_or(0)),
        digest: Digest(Sha256::digest(body.as_slice()).into()),
    }
}

/// A well-formed key of ours, as read from a request. Borrowed; has no `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// What the text claims as brand. Not proven until compared with the entry.
    pub brand: &'a str,
    /// What the text claims as environment. Not proven until compared with the entry.
    pub environment: &'a str,
    body: &'a [u8],
}

/// Why bytes are not a key of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Empty, or longer than [`MAX_KEY_BYTES`].
    Length,
    /// Not `<brand>_<env>_<59 base62 digits>`.
    Shape,
    /// The last six digits are not the checksum of the rest.
    Checksum,
}

impl<'a> Parsed<'a> {
    /// Reads a key. Costs no hash.
    ///
    /// # Errors
    /// [`Malformed`], in the order length, shape, checksum.
    pub fn parse(text: &'a [u8]) -> Result<Self, Malformed> {
        if text.is_empty() || text.len() > MAX_KEY_BYTES {
            return Err(Malformed::Length);
        }
        // From the end, where lengths are known.
        let at = text
            .len()
            .checked_sub(BODY_DIGITS)
            .ok_or(Malformed::Shape)?;
        let (head, rest) = text.split_at(at);
        let mut names = head
            .strip_suffix(b"_")
            .unwrap_or_default()
            .splitn(2, |&b| b == b'_');
        let (Some(brand), Some(environment)) = (names.next(), names.next()) else {
            return Err(Malformed::Shape);
        };
        let foreign = rest.iter().fold(0, |seen, &b| seen | digit(b));
        if !is_name(brand) || !is_name(environment) || foreign & NO_DIGIT == NO_DIGIT {
            return Err(Malformed::Shape);
        }
        let (Ok(brand), Ok(environment)) = (
            core::str::from_utf8(brand),
            core::str::from_utf8(environment),
        ) else {
            return Err(Malformed::Shape);
        };
        let (body, checksum) = rest.split_at(ID_DIGITS + SECRET_DIGITS);
        let (checked, _) = text.split_at(text.len().saturating_sub(CHECKSUM_DIGITS));
        if base62_value(checksum) != Some(u64::from(crc32(checked))) {
            return Err(Malformed::Checksum);
        }
        Ok(Self {
            brand,
            environment,
            body,
        })
    }

    /// The public id that the text claims.
    pub fn id(&self) -> KeyId {
        let (id, _) = self.body.split_at(ID_DIGITS);
        KeyId(base62_value(id).unwrap_or(0))
    }

    /// The digest to look up: one SHA-256 block.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.body).into())
    }
}

/// What may be shown of a key: brand, environment and four digits of the id
/// (`ks_live_ab12…`); of anything else, only its length.
pub fn safe_display(text: &[u8]) -> String {
    match Parsed::parse(text) {
        Ok(key) => {
            let id = key.id().to_string();
            let shown: String = id.chars().take(4).collect();
            format!("{}_{}_{shown}…", key.brand, key.environment)
        }
        Err(_) => format!("({} bytes, not a key of ours)", text.len()),
    }
}

fn random_digits<E>(
    out: &mut [u8],
    entropy: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut pool = Zeroizing::new([0u8; 64]);
    let mut slots = out.iter_mut();
    let mut slot = slots.next();
    while slot.is_some() {
        entropy(pool.as_mut_slice())?;
        for byte in pool.iter() {
            // Six bits at a time, discarding 62 and 63, so that every digit is equally likely.
            if let Some(&digit) = ALPHABET.get(usize::from(byte & 63))
                && let Some(s) = slot.take()
            {
                *s = digit;
                slot = slots.next();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
