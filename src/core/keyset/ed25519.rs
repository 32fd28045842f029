//! Ed25519: signatures that an Envoy can check but cannot make.
//!
//! Strict: a signature has one spelling, keys and commitments of small order are refused, and so is
//! a key that is not spelled canonically. Every more lenient verifier of RFC 8032 accepts what this
//! one accepts.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::refusal::SigningKeyError;

/// Bytes of a public key, and of the seed that it is made from.
pub(super) const KEY: usize = 32;

/// What checks signatures. Not a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Public(VerifyingKey);

impl Public {
    /// # Errors
    /// [`SigningKeyError::NoPublicKey`] if the bytes are not a point of the curve, or are one of
    /// small order, or are not in canonical form.
    #[inline(never)]
    pub(super) fn new(bytes: &[u8]) -> Result<Self, SigningKeyError> {
        let bytes: &[u8; KEY] = bytes.try_into().map_err(|_| SigningKeyError::NoPublicKey)?;
        match VerifyingKey::from_bytes(bytes) {
            Ok(key) if is_reduced(bytes) && !key.is_weak() => Ok(Self(key)),
            _ => Err(SigningKeyError::NoPublicKey),
        }
    }

    pub(super) fn bytes(&self) -> &[u8; KEY] {
        self.0.as_bytes()
    }

    #[inline(never)]
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|s| self.0.verify_strict(message, &s).is_ok())
    }
}

/// Whether the first coordinate is below the prime 2^255 - 19.
fn is_reduced(bytes: &[u8; KEY]) -> bool {
    let [first, middle @ .., last] = bytes;
    *first < 0xed || last & 0x7f != 0x7f || middle.iter().any(|b| *b != 0xff)
}

/// What makes signatures; only the companion has one. No `Debug`; wiped when dropped.
#[derive(Clone)]
pub(super) struct Pair(Box<SigningKey>);

impl Pair {
    pub(super) fn new(seed: &[u8; KEY]) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed)))
    }

    pub(super) fn public(&self) -> Public {
        Public(self.0.verifying_key())
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).to_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    fn bytes(text: &str) -> Vec<u8> {
        let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(pair).collect()
    }

    /// RFC 8032, section 7.1: seed, public key, message, signature.
    const RFC_8032: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    #[test]
    fn the_vectors_of_rfc_8032_are_signed_and_verified_byte_for_byte() {
        for [seed, public, message, signature] in RFC_8032 {
            let pair = Pair::new(bytes(seed).as_slice().try_into().unwrap());
            assert_eq!(hex::text(*pair.public().bytes()), public);
            assert_eq!(pair.sign(&bytes(message)), bytes(signature));
            let public = Public::new(&bytes(public)).unwrap();
            assert!(public.verifies(&bytes(message), &bytes(signature)));
            assert!(!public.verifies(b"another", &bytes(signature)));
        }
    }

    /// Some of the cases of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020): public
    /// key, message, signature, and whether a strict verifier takes it.
    const CASES: [(&str, &str, &str, bool); 6] = [
        // A key of small order: this signature holds for any message.
        (
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a0000000000000000000000000000000000000000000000000000000000000000",
            false,
        ),
        // A commitment of small order.
        (
            "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
            "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
            false,
        ),
        // Both of mixed order, and the equation holds without the cofactor.
        (
            "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
            "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
            "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
            true,
        ),
        // It holds with the cofactor alone.
        (
            "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
            "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
            "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
            false,
        ),
        // The same number written with the order of the group added: a second spelling.
        (
            "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
            "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
            "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
            false,
        ),
        // A commitment that is not reduced.
        (
            "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
            "84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09",
            false,
        ),
    ];

    #[test]
    fn a_signature_has_one_spelling_and_small_orders_are_refused() {
        for (public, message, signature, taken) in CASES {
            let verifies = Public::new(&bytes(public))
                .is_ok_and(|p| p.verifies(&bytes(message), &bytes(signature)));
            assert_eq!(verifies, taken, "{signature}");
        }
        let [seed, _, message, signature] = RFC_8032[1];
        let public = Pair::new(bytes(seed).as_slice().try_into().unwrap()).public();
        let (message, signature) = (bytes(message), bytes(signature));
        for length in [0, 32, 63] {
            assert!(!public.verifies(&message, &signature[..length]), "{length}");
        }
        assert!(!public.verifies(&message, &[&signature[..], &[0]].concat()));
        for at in 0..512 {
            let mut changed = signature.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(!public.verifies(&message, &changed), "bit {at}");
        }
    }

    #[test]
    fn what_is_no_key_that_somebody_could_sign_with_is_refused() {
        let all_ones = |first: u8, last: u8| {
            let mut key = [0xff; KEY];
            (key[0], key[31]) = (first, last);
            key
        };
        let mut identity = [0; KEY];
        identity[0] = 1;
        for bad in [
            &[][..],
            &[1; 31],
            &[1; 33],
            // y = 0, 1 and -1: of order 4, 1 and 2.
            &[0; KEY],
            &identity,
            &all_ones(0xec, 0x7f),
            // 2^255 - 19 + 0, 1, 3 and 18, which are other spellings of 0, 1, 3 and 18.
            &all_ones(0xed, 0x7f),
            &all_ones(0xee, 0x7f),
            &all_ones(0xf0, 0x7f),
            &all_ones(0xff, 0x7f),
            &all_ones(0xff, 0xff),
        ] {
            assert_eq!(
                Public::new(bad).err(),
                Some(SigningKeyError::NoPublicKey),
                "{bad:?}"
            );
        }
        // No point has this coordinate.
        let mut two = [0; KEY];
        two[0] = 2;
        assert!(Public::new(&two).is_err());
        let mut three = [0; KEY];
        three[0] = 3;
        assert!(
            Public::new(&three).is_ok(),
            "the canonical spelling of one of those above"
        );
    }
}
