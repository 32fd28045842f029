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

use core::fmt;
use core::str::FromStr;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The longest key, ours or foreign, that is looked at; in bytes.
pub const MAX_KEY_BYTES: usize = 256;

const ID_DIGITS: usize = 10;
const SECRET_DIGITS: usize = 43;
const CHECKSUM_DIGITS: usize = 6;
const BODY_DIGITS: usize = ID_DIGITS + SECRET_DIGITS + CHECKSUM_DIGITS;
const NAME_MAX: usize = 16;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A brand or an environment: `[a-z0-9]{1,16}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The text is not `[a-z0-9]{1,16}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError(String);

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a name: use 1 to 16 of `a-z` and `0-9`",
            self.0
        )
    }
}

impl std::error::Error for NameError {}

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

    /// Takes a key that a person typed in, for `explain`.
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
    /// What the store keeps.
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

/// The same with a given id, for who makes many and wants them in an order of his own.
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
            // Six bits, and those of 62 and 63 thrown away: every digit is equally likely.
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

fn base62_into(n: u64, out: &mut [u8]) {
    // In halves of 32 bits, which a machine without a wide multiplication divides quickly.
    const FIVE: u64 = 62u64.pow(5);
    let (mut low, mut high) = (u32::try_from(n % FIVE).unwrap_or(0), n / FIVE);
    for (place, d) in out.iter_mut().rev().enumerate() {
        if place > 0 && place % 5 == 0 {
            low = u32::try_from(high % FIVE).unwrap_or(0);
            high /= FIVE;
        }
        *d = ALPHABET.get((low % 62) as usize).copied().unwrap_or(b'0');
        low /= 62;
    }
}

/// Set in what [`digit`] says of a byte that is none.
const NO_DIGIT: u8 = 0x80;

/// The value of a base62 digit.
fn digit(b: u8) -> u8 {
    const VALUES: [u8; 256] = {
        let mut values = [NO_DIGIT; 256];
        let mut i = 0;
        while i < ALPHABET.len() {
            #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
            {
                values[ALPHABET[i] as usize] = i as u8;
            }
            i += 1;
        }
        values
    };
    VALUES.get(usize::from(b)).copied().unwrap_or(NO_DIGIT)
}

fn base62_value(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |n, &d| match digit(d) {
        NO_DIGIT.. => None,
        value => n.checked_mul(62)?.checked_add(u64::from(value)),
    })
}

/// CRC-32 as in IEEE 802.3 and zip, by tables, eight bytes at a time: Kounavis and Berry,
/// "A Systematic Approach to Building High Performance Software-based CRC Generators".
fn crc32(bytes: &[u8]) -> u32 {
    const TABLES: [[u32; 256]; 8] = {
        let mut tables = [[0u32; 256]; 8];
        let mut i = 0;
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
        while i < 256 {
            let mut c = i as u32;
            let mut bit = 0;
            while bit < 8 {
                c = if c & 1 == 1 {
                    0xEDB8_8320 ^ (c >> 1)
                } else {
                    c >> 1
                };
                bit += 1;
            }
            tables[0][i] = c;
            i += 1;
        }
        let mut k = 1;
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
        while k < 8 {
            let mut i = 0;
            while i < 256 {
                let before = tables[k - 1][i];
                tables[k][i] = tables[0][(before & 0xFF) as usize] ^ (before >> 8);
                i += 1;
            }
            k += 1;
        }
        tables
    };
    let [one, ..] = &TABLES;
    let look = |table: &[u32; 256], b: u8| table.get(usize::from(b)).copied().unwrap_or(0);
    let (eights, rest) = bytes.as_chunks::<8>();
    let crc = eights.iter().fold(!0u32, |crc, eight| {
        let word = u64::from_le_bytes(*eight) ^ u64::from(crc);
        let all = word.to_le_bytes();
        let ways = TABLES.iter().rev().zip(all);
        ways.fold(0, |sum, (table, b)| sum ^ look(table, b))
    });
    !rest
        .iter()
        .fold(crc, |crc, &b| look(one, crc as u8 ^ b) ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counting_entropy() -> impl FnMut(&mut [u8]) -> Result<(), core::convert::Infallible> {
        let mut n = 0u8;
        move |buf| {
            for b in buf {
                *b = n;
                n = n.wrapping_add(37);
            }
            // No two buffers alike, of whatever length.
            n = n.wrapping_add(1);
            Ok(())
        }
    }

    fn sample() -> Fresh {
        let Ok(key) = generate(
            &"ks".parse().unwrap(),
            &"live".parse().unwrap(),
            counting_entropy(),
        );
        key
    }

    #[test]
    fn a_key_made_for_an_id_holds_it_and_a_secret_of_its_own() {
        let id: KeyId = "0Ab3dEfGh1".parse().unwrap();
        let (brand, live) = ("ks".parse().unwrap(), "live".parse().unwrap());
        let mut entropy = counting_entropy();
        let mut make = || {
            let Ok(key) = generate_as(id, &brand, &live, &mut entropy);
            key
        };
        let (one, two) = (make(), make());
        let parsed = Parsed::parse(one.text.expose_secret().as_bytes()).unwrap();
        assert_eq!((parsed.id(), one.id), (id, id));
        assert!(parsed.digest() == one.digest && one.digest != two.digest);
    }

    /// Vectors made by another implementation; the filter's tests read the same file.
    #[test]
    fn the_shared_vectors_hold() {
        let v: serde_json::Value =
            serde_json::from_str(include_str!("../tests/vectors/keys.json")).unwrap();
        for case in v["ok"].as_array().unwrap() {
            let text = case["key"].as_str().unwrap().as_bytes();
            let key = Parsed::parse(text).ok().unwrap();
            assert_eq!(
                (key.brand, key.environment),
                (
                    case["brand"].as_str().unwrap(),
                    case["environment"].as_str().unwrap()
                )
            );
            assert_eq!(key.id().to_string(), case["id"].as_str().unwrap());
            let hex: String = key.digest().0.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, case["sha256"].as_str().unwrap());
        }
        for case in v["fail"].as_array().unwrap() {
            if let Some(text) = case["key"].as_str() {
                let why = Parsed::parse(text.as_bytes()).err().unwrap();
                assert_eq!(
                    format!("{why:?}").to_lowercase(),
                    case["why"].as_str().unwrap(),
                    "{case}"
                );
            }
        }
    }

    #[test]
    fn crc32_matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_generated_key_parses_to_its_own_id_and_digest() {
        let key = sample();
        let parsed = Parsed::parse(key.text.expose_secret().as_bytes())
            .ok()
            .unwrap();
        assert_eq!(parsed.brand, "ks");
        assert_eq!(parsed.environment, "live");
        assert_eq!(parsed.id(), key.id);
        assert_eq!(parsed.digest(), key.digest);
    }

    #[test]
    fn the_hashed_part_fits_one_sha256_block() {
        const { assert!(ID_DIGITS + SECRET_DIGITS <= 55) };
    }

    #[test]
    fn the_secret_holds_at_least_256_bits() {
        assert!(SECRET_DIGITS as f64 * 62f64.log2() >= 256.0);
    }

    #[test]
    fn every_changed_character_is_refused_without_hashing() {
        let key = sample();
        let text = key.text.expose_secret().as_bytes();
        for i in 0..text.len() {
            for replacement in [b'0', b'x', b'_', b'-', 0xFF] {
                if text[i] == replacement {
                    continue;
                }
                let mut bad = text.to_vec();
                bad[i] = replacement;
                assert!(Parsed::parse(&bad).is_err(), "at {i} with {replacement}");
            }
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        let key = sample();
        let text = key.text.expose_secret().as_bytes();
        for n in 0..text.len() {
            assert!(Parsed::parse(&text[..n]).is_err());
            assert!(Parsed::parse(&text[n + 1..]).is_err());
        }
        let mut long = text.to_vec();
        long.push(b'0');
        assert!(Parsed::parse(&long).is_err());
        assert_eq!(Parsed::parse(&[b'a'; 257]).err(), Some(Malformed::Length));
        assert_eq!(Parsed::parse(b"").err(), Some(Malformed::Length));
    }

    #[test]
    fn a_wrong_checksum_is_told_from_a_wrong_shape() {
        let key = sample();
        let mut text = key.text.expose_secret().as_bytes().to_vec();
        let last = text.len() - 1;
        text[last] = if text[last] == b'0' { b'1' } else { b'0' };
        assert_eq!(Parsed::parse(&text).err(), Some(Malformed::Checksum));
        text[0] = b'K';
        assert_eq!(Parsed::parse(&text).err(), Some(Malformed::Shape));
    }

    #[test]
    fn safe_display_never_shows_more_than_four_digits_of_the_id() {
        let key = sample();
        let shown = safe_display(key.text.expose_secret().as_bytes());
        let id = key.id.to_string();
        assert_eq!(shown, format!("ks_live_{}…", &id[..4]));
        assert_eq!(safe_display(b"hunter2"), "(7 bytes, not a key of ours)");
    }

    #[test]
    fn digits_are_drawn_without_bias() {
        let mut seen = [0u32; 256];
        let mut state = 1u64;
        let mut entropy = |buf: &mut [u8]| -> Result<(), core::convert::Infallible> {
            for b in buf {
                // xorshift64*: good enough to count with.
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                *b = (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8;
            }
            Ok(())
        };
        let n = 62_000;
        let mut out = vec![0; n];
        let Ok(()) = random_digits(&mut out, &mut entropy);
        for d in out {
            seen[usize::from(d)] += 1;
        }
        for &d in ALPHABET {
            let count = seen[usize::from(d)];
            assert!(
                (800..1200).contains(&count),
                "{} came {count} times",
                char::from(d)
            );
        }
    }

    /// The format by its description alone, with nothing of the code above.
    mod naive {
        /// CRC-32 (ISO-HDLC) bit by bit, in six digits of base 62.
        pub fn checksum(text: &[u8]) -> String {
            let mut crc = u32::MAX;
            for byte in text {
                crc ^= u32::from(*byte);
                for _ in 0..8 {
                    crc = if crc & 1 == 1 {
                        crc >> 1 ^ 0xEDB8_8320
                    } else {
                        crc >> 1
                    };
                }
            }
            let mut left = !crc;
            let mut digits = Vec::new();
            for _ in 0..6 {
                let digit = (left % 62) as u8;
                digits.push(char::from(match digit {
                    0..10 => b'0' + digit,
                    10..36 => b'A' + digit - 10,
                    _ => b'a' + digit - 36,
                }));
                left /= 62;
            }
            digits.iter().rev().collect()
        }

        /// Brand, environment and id.
        pub fn read(text: &str) -> Option<(String, String, String)> {
            let parts: Vec<&str> = text.split('_').collect();
            let [brand, environment, body] = parts[..] else {
                return None;
            };
            let is_name = |name: &str| {
                let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                !name.is_empty() && name.len() <= 16 && name.chars().all(fits)
            };
            let fits = body.len() == 59 && body.chars().all(|c| c.is_ascii_alphanumeric());
            if !fits || !is_name(brand) || !is_name(environment) {
                return None;
            }
            let (head, sum) = text.split_at(text.len() - 6);
            let found = (
                brand.to_owned(),
                environment.to_owned(),
                body[..10].to_owned(),
            );
            (checksum(head.as_bytes()) == sum).then_some(found)
        }
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn ids_round_trip(n in 0u64..62u64.pow(10)) {
            let id = KeyId::from_u64(n).unwrap();
            prop_assert_eq!(id.to_string().parse::<KeyId>(), Ok(id));
        }

        /// Texts that are keys but for a part, so that each rule decides somewhere.
        #[test]
        fn what_parses_is_what_a_naive_reader_takes_for_a_key(
            brand in "[a-z0-9]{0,3}|[a-z]{16,17}|K",
            environment in "[a-z0-9]{0,3}|[a-z]{16,17}|a_b|-",
            body in "[0-9A-Za-z]{52,54}|[0-9A-Za-z]{20}[-_][0-9A-Za-z]{32}",
            is_summed in proptest::bool::weighted(0.8),
            other in "[0-9A-Za-z]{6}",
        ) {
            let head = format!("{brand}_{environment}_{body}");
            let sum = if is_summed { naive::checksum(head.as_bytes()) } else { other };
            let text = format!("{head}{sum}");
            let found = Parsed::parse(text.as_bytes()).ok();
            let found = found.map(|key| (key.brand.to_owned(), key.environment.to_owned(), key.id().to_string()));
            prop_assert_eq!(found, naive::read(&text));
        }

        #[test]
        fn any_bytes_are_a_key_only_to_both_readers(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = String::from_utf8_lossy(&bytes);
            let naive = core::str::from_utf8(&bytes).ok().and_then(naive::read);
            prop_assert_eq!(Parsed::parse(&bytes).is_ok(), naive.is_some(), "{}", text);
        }
    }
}
