//! Generic secrets: what Envoy has under a name, or fetches by SDS.

#[cfg(test)]
use super::fake;
use super::{Buffer, Configuration};

/// The number of a generic secret of one configuration.
#[derive(Clone, Copy, Debug)]
pub struct GenericSecret(usize);

/// Why Envoy does not hand over a generic secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSecret {
    /// This Envoy is older than 1.40.
    Unsupported,
    /// It has none of this name, or the source makes no sense; its log says which.
    Refused,
}

impl Configuration<'_> {
    /// Asks for a generic secret; only while the configuration is made. `source` is a
    /// `ConfigSource` in JSON, or empty for one of `static_resources.secrets`.
    ///
    /// # Errors
    /// [`NoSecret`], at once; that it never arrives is seen later.
    pub fn subscribe(&self, name: &str, source: &str) -> Result<GenericSecret, NoSecret> {
        #[cfg(test)]
        if fake::is_older() {
            return Err(NoSecret::Unsupported);
        }
        let subscribe = self.envoy.secret_subscribe.ok_or(NoSecret::Unsupported)?;
        let (name, source) = (
            Buffer::from_bytes(name.as_bytes()),
            Buffer::from_bytes(source.as_bytes()),
        );
        // SAFETY: pointers and lengths of live slices.
        let id = unsafe { subscribe(self.at, name, source) };
        (id != 0)
            .then_some(GenericSecret(id))
            .ok_or(NoSecret::Refused)
    }

    /// Calls `f` with what a generic secret holds at the moment; with nothing before it has arrived.
    pub fn with_secret<R>(&self, secret: GenericSecret, f: impl FnOnce(&[u8]) -> R) -> R {
        let mut held = Buffer::NONE;
        let read = self.envoy.config_secret;
        // SAFETY: a number that Envoy gave out for this configuration, a live location to write to.
        let is_there = read.is_some_and(|read| unsafe { read(self.at, secret.0, &raw mut held) });
        match is_there {
            // SAFETY: Envoy keeps it until it calls us again on this thread.
            true => f(unsafe { held.bytes() }),
            false => f(&[]),
        }
    }
}
