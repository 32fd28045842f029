//! Names are resolved once, and only allowed addresses are contacted.

use std::fmt;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use keystile_model::reach::Reach;

/// A name resolves to an address that may not be contacted.
#[derive(Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its address is not public, and no `--webhook-allow` names its network")
    }
}

impl std::error::Error for Closed {}

/// Resolves a name once, and gives the connection only those addresses.
#[derive(Debug)]
pub struct Pinned<R = DefaultResolver> {
    reach: Reach,
    resolver: R,
}

impl Pinned {
    /// With the system's resolver.
    pub fn new(reach: Reach) -> Self {
        Self {
            reach,
            resolver: DefaultResolver::default(),
        }
    }
}

impl<R: Resolver> Resolver for Pinned<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        // One disallowed address disallows all of them: the operator does not choose which of them
        // answers.
        if found.iter().all(|a| self.reach.admits(a.ip())) {
            Ok(found)
        } else {
            Err(ureq::Error::Other(Box::new(Closed)))
        }
    }
}
