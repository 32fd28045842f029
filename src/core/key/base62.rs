//! Numbers in base 62. Written by hand: crates drop leading zeroes or allocate, and the fields of a
//! key have fixed widths.

pub(super) const ALPHABET: &[u8; 62] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[inline]
pub(super) fn base62_into(n: u64, out: &mut [u8]) {
    // In halves of 32 bits, which machines without wide multiplication divide quickly.
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

/// Set in the value that [`digit`] gives for a byte that is not a digit.
pub(super) const NO_DIGIT: u8 = 0x80;

/// The value of a base62 digit.
pub(super) fn digit(b: u8) -> u8 {
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

pub(super) fn base62_value(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |n, &d| match digit(d) {
        NO_DIGIT.. => None,
        value => n.checked_mul(62)?.checked_add(u64::from(value)),
    })
}
