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
        serde_json::from_str(include_str!("../../../tests/vectors/keys.json")).unwrap();
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
        let hex: String = crate::hex::text(key.digest().0);
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
