//! One round trip to the identity provider: everything that binds the answer to the browser that
//! asked.
//!
//! The browser keeps a random word for ten minutes; state, nonce and PKCE's verifier are derived
//! from it with a secret of this process, or of all servers of a store in a database. So nothing is
//! stored when somebody starts, and however many start, no flow is dropped.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::id_token::is_same;
use keystile_model::error::Result;

/// How long somebody may take at the provider, in seconds.
pub const LIFETIME: u64 = 600;
/// How far apart the clocks of two servers may be, in seconds.
const APART: u64 = 60;
/// How many used flows are remembered; older ones are dropped.
const GONE: usize = 2_000;

/// Makes flows, and recognises its own.
pub struct Flows {
    secret: Zeroizing<[u8; 32]>,
    gone: Mutex<HashMap<[u8; 32], u64>>,
}

/// A flow. No `Debug`, no `Display`.
pub struct Flow {
    cookie: Zeroizing<String>,
    /// What comes back beside the code.
    pub state: Zeroizing<String>,
    /// What comes back inside the token.
    pub nonce: Zeroizing<String>,
    /// Proves that the code is exchanged by the party that requested it.
    pub verifier: Zeroizing<String>,
    /// The page to go on with.
    pub next: String,
}

impl Flows {
    /// With a secret of its own.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn new(entropy: fn(&mut [u8]) -> Result<()>) -> Result<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        entropy(secret.as_mut_slice())?;
        Ok(Self::with(secret))
    }

    /// With a secret that servers share. Each remembers the used flows of its own; at the provider
    /// a code is good once.
    pub fn with(secret: Zeroizing<[u8; 32]>) -> Self {
        Self {
            secret,
            gone: Mutex::default(),
        }
    }

    /// Starts a flow, at a time in seconds.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn begin(
        &self,
        next: &str,
        now: u64,
        entropy: fn(&mut [u8]) -> Result<()>,
    ) -> Result<Flow> {
        let mut word = Zeroizing::new([0; 32]);
        entropy(word.as_mut_slice())?;
        let word = Zeroizing::new(URL_SAFE_NO_PAD.encode(word.as_slice()));
        let next = URL_SAFE_NO_PAD.encode(next);
        let cookie = Zeroizing::new(format!("{}.{now}.{next}", *word));
        Ok(self.flow(cookie, next_of(&next)))
    }

    /// The flow in a browser's cookie, if it is one of ours, returns with its state, and is neither
    /// too old nor used. It is then used up.
    pub fn end(&self, cookie: &str, state: &str, now: u64) -> Option<Flow> {
        let mut parts = cookie.split('.');
        let (Some(_), Some(began), Some(next), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let began: u64 = began.parse().ok()?;
        let flow = self.flow(Zeroizing::new(cookie.to_owned()), next_of(next));
        // The state covers the whole cookie, so a modified cookie has no matching state.
        if state.is_empty()
            || !is_same(&flow.state, state)
            || now.saturating_add(APART) < began
            || now.saturating_sub(began) >= LIFETIME
        {
            return None;
        }
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.retain(|_, began| now.saturating_sub(*began) < LIFETIME);
        if gone.len() >= GONE {
            // Its code is good once at the provider, too.
            let oldest = gone
                .iter()
                .min_by_key(|(_, began)| **began)
                .map(|(k, _)| *k);
            oldest.and_then(|oldest| gone.remove(&oldest));
        }
        let key: [u8; 32] = Sha256::digest(cookie.as_bytes()).into();
        gone.insert(key, began).is_none().then_some(flow)
    }

    fn flow(&self, cookie: Zeroizing<String>, next: String) -> Flow {
        let made = |purpose: &[u8]| self.made(purpose, cookie.as_bytes());
        Flow {
            state: made(b"state"),
            nonce: made(b"nonce"),
            verifier: made(b"verifier"),
            next,
            cookie,
        }
    }

    fn made(&self, purpose: &[u8], cookie: &[u8]) -> Zeroizing<String> {
        // HMAC accepts keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_slice()) else {
            return Zeroizing::default();
        };
        mac.update(purpose);
        mac.update(&[0]);
        mac.update(cookie);
        Zeroizing::new(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

impl Flow {
    /// What the browser keeps.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// What the provider gets of the verifier: its SHA-256.
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()))
    }
}

fn next_of(encoded: &str) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_system as system;

    fn entropy() -> fn(&mut [u8]) -> Result<()> {
        system::at(1).entropy
    }

    fn flows() -> Flows {
        Flows::new(entropy()).unwrap()
    }

    #[test]
    fn who_comes_back_is_who_set_out_and_comes_back_once() {
        let all = flows();
        let flow = all.begin("/console/keys", 100, entropy()).unwrap();
        let back = all.end(flow.cookie(), &flow.state, 150).unwrap();
        assert_eq!(back.next, "/console/keys");
        assert_eq!(*back.nonce, *flow.nonce);
        assert_eq!(*back.verifier, *flow.verifier);
        assert!(all.end(flow.cookie(), &flow.state, 151).is_none());
        // As RFC 7636 wants it.
        assert_eq!(flow.verifier.len(), 43);
        assert_eq!(flow.challenge().len(), 43);
    }

    #[test]
    fn another_state_another_cookie_another_server_and_another_hour_are_refused() {
        let (all, others) = (flows(), flows());
        let flow = all.begin("/console", 100, entropy()).unwrap();
        let other = all.begin("/console", 100, entropy()).unwrap();
        let (cookie, state) = (flow.cookie(), flow.state.as_str());
        assert!(all.end(cookie, &other.state, 101).is_none());
        assert!(all.end(other.cookie(), state, 101).is_none());
        assert!(all.end(cookie, "", 101).is_none());
        assert!(all.end("", state, 101).is_none());
        assert!(others.end(cookie, state, 101).is_none());
        assert!(all.end(cookie, state, 100 + LIFETIME).is_none());
        assert!(all.end(cookie, state, 99 - APART).is_none());
        let evil = URL_SAFE_NO_PAD.encode("https://evil.example");
        let (front, _) = cookie.rsplit_once('.').unwrap();
        assert!(all.end(&format!("{front}.{evil}"), state, 101).is_none());
        let later = cookie.replacen(".100.", ".500.", 1);
        assert!(all.end(&later, state, 501).is_none());
        // None of that was the end of it; and another server's clock may be behind.
        assert!(all.end(cookie, state, 100 - APART).is_some());
    }

    #[test]
    fn what_goes_different_ways_cannot_be_told_from_each_other() {
        let all = flows();
        let flow = all.begin("/console", 1, entropy()).unwrap();
        let words = [&flow.state, &flow.nonce, &flow.verifier];
        for (i, a) in words.iter().enumerate() {
            assert!(words.iter().skip(i + 1).all(|b| a != b));
            assert!(!flow.cookie().contains(a.as_str()));
        }
    }

    #[test]
    fn what_is_remembered_of_the_gone_is_bounded() {
        let all = flows();
        for _ in 0..GONE + 5 {
            let flow = all.begin("/console", 1, entropy()).unwrap();
            assert!(all.end(flow.cookie(), &flow.state, 2).is_some());
        }
        assert_eq!(all.gone.lock().unwrap().len(), GONE);
        let flow = all.begin("/console", 1000, entropy()).unwrap();
        assert!(all.end(flow.cookie(), &flow.state, 1001).is_some());
        assert_eq!(all.gone.lock().unwrap().len(), 1);
    }
}
