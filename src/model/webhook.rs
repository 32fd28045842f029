//! Notifying other programs: signed requests in the format of Standard Webhooks
//! (<https://www.standardwebhooks.com>, version 1).
//!
//! Pure: what is sent, when to try again, and when to give up. The `outbox` of the server does
//! the sending.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::{Act, Code, Result, refuse};
use crate::reach::Reach;

/// Bytes of a new secret; the specification asks for 24 to 64.
const SECRET: usize = 32;
/// The prefix of a secret's text.
const PREFIX: &str = "whsec_";

/// What signs the messages of one receiver. No `Debug`, no `Display`; wiped when dropped.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

impl WebhookSecret {
    /// A new one.
    ///
    /// # Errors
    /// Those of the system's randomness.
    pub fn generate(entropy: fn(&mut [u8]) -> Result<()>) -> Result<Self> {
        let mut bytes = Zeroizing::new(vec![0; SECRET]);
        entropy(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// From the bytes that [`WebhookSecret::expose_bytes`] gave.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// From `whsec_…`, for a receiver that already has one.
    ///
    /// # Errors
    /// If it is not base64 of 24 to 64 bytes behind the prefix.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            refuse(
                Code::InvalidValue,
                "the secret is not `whsec_` and base64 of 24 to 64 bytes",
                "copy it from the receiver again, or leave it out to have one made",
            )
            .about("secret")
        };
        let encoded = text.trim().strip_prefix(PREFIX).ok_or_else(wrong)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| wrong())?;
        let bytes = Zeroizing::new(bytes);
        if (24..=64).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(wrong())
        }
    }

    /// `whsec_…`, for the receiver. A secret.
    pub fn expose_secret(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(self.0.as_slice())))
    }

    /// The bytes, for the store. A secret.
    pub fn expose_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value of `webhook-signature` for a message: `v1,<base64>` of HMAC-SHA-256 over
    /// `id.timestamp.body`.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        // HMAC accepts keys of any length; an empty one never gets here.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return String::new();
        };
        mac.update(id.as_bytes());
        mac.update(format!(".{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Seconds between attempts: the schedule that the specification proposes, three days in all.
const SCHEDULE: [u64; 8] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000];

/// When to try again after `failures` failed attempts, in seconds from the last one; `None` to give
/// up. `spread` (any number) shifts it by up to a tenth, so that many messages for one receiver do
/// not arrive together.
pub fn retry_after(failures: u32, spread: u64) -> Option<u64> {
    let at = usize::try_from(failures).ok()?.checked_sub(1)?;
    let base = *SCHEDULE.get(at)?;
    Some(base + spread % (base / 10 + 1))
}

/// Whether an answer means that the receiver has the message.
pub fn is_taken(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Reads the address of a receiver.
///
/// # Errors
/// If it is not `https://`, or `http://` to this machine; or holds a user or a fragment.
pub fn checked_url(url: &str) -> Result<String> {
    let parsed: http::Uri = url.parse().map_err(|e| {
        refuse(
            Code::InvalidAddress,
            format_args!("`{url}` is not an address ({e})"),
            "write it as `https://host/path`",
        )
        .about("url")
    })?;
    let host = parsed.host().unwrap_or_default();
    let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match parsed.scheme_str() {
        Some("https") if !host.is_empty() => {}
        Some("http") if here => {}
        _ => {
            return Err(refuse(
                Code::NotEncrypted,
                format_args!("`{url}` is not `https://`"),
                "messages reveal who uses what: send them over TLS, or to this machine",
            )
            .about("url"));
        }
    }
    if parsed.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(refuse(
            Code::InvalidAddress,
            "the address of the webhook holds a user name",
            "leave it out: the receiver checks the signature",
        )
        .about("url"));
    }
    if url.len() > 2048 || url.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return Err(refuse(
            Code::InvalidAddress,
            "the address of the webhook is longer than 2,048 bytes or holds spaces",
            "write it shorter",
        )
        .about("url"));
    }
    Ok(url.to_owned())
}

/// Reads the address of a receiver, and checks that it may be contacted.
///
/// # Errors
/// Those of [`checked_url`]; or if it names an address that is neither public nor allowed.
pub fn checked_target(url: &str, reach: &Reach) -> Result<String> {
    let url = checked_url(url)?;
    let parsed = url.parse::<http::Uri>().unwrap_or_default();
    let host = parsed.host().unwrap_or_default();
    if !reach.admits_host(host) {
        return Err(refuse(Code::AddressNotAllowed, format_args!(
                "`{host}` is not a public address, and webhooks are sent to no others"
            ), crate::next!["use the receiver's public name, or have the operator allow its network with `--webhook-allow CIDR` on ", Act::Serve, " and on `webhook create`"]).field("url"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of the reference implementations.
    #[test]
    fn a_signature_is_that_of_the_reference_implementation() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .ok()
            .unwrap();
        assert_eq!(
            secret.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_reads_back_what_it_prints() {
        let made = WebhookSecret::generate(|b| {
            b.fill(7);
            Ok(())
        })
        .ok()
        .unwrap();
        let again = WebhookSecret::parse(&made.expose_secret()).ok().unwrap();
        assert_eq!(again.expose_bytes(), made.expose_bytes());
        assert!(WebhookSecret::parse("whsec_c2hvcnQ=").is_err());
        assert!(WebhookSecret::parse("c2hvcnQ=").is_err());
    }

    #[test]
    fn messages_go_over_tls_or_stay_on_the_machine() {
        assert!(checked_url("https://hooks.example.com/a?b=c").is_ok());
        assert!(checked_url("http://127.0.0.1:9000/a").is_ok());
        for bad in [
            "http://example.com/",
            "https://user:password@example.com/",
            "ftp://example.com/",
            "hooks.example.com",
            "",
        ] {
            assert!(checked_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_that_is_not_public_is_refused_with_the_field_and_the_option() {
        for bad in [
            "http://127.0.0.1:9000/a",
            "http://localhost/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::ffff:10.0.0.1]/",
            "https://2130706433/",
        ] {
            let error = checked_target(bad, &Reach::default())
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("`url`: "), "{error}");
            assert!(error.contains("`--webhook-allow CIDR`"), "{error}");
        }
        let here = Reach::with(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(checked_target("http://localhost/", &here).is_ok());
    }

    proptest! {
        #[test]
        fn tries_grow_rarer_and_end(spread in any::<u64>()) {
            let waits: Vec<u64> = (1..).map_while(|n| retry_after(n, spread)).collect();
            prop_assert_eq!(waits.len(), SCHEDULE.len());
            prop_assert!(waits.is_sorted());
            let all: u64 = waits.iter().sum();
            prop_assert!((2 * 86_400..4 * 86_400).contains(&all), "{}", all);
        }
    }
}
