//! Names looked up once, and spoken to only where messages may go.

use std::fmt;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use keystile_model::reach::Reach;

/// A name stands for an address that may not be spoken to.
#[derive(Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its address is not public, and no `--webhook-allow` names its network")
    }
}

impl std::error::Error for Closed {}

/// Looks a name up once, and gives the connection those addresses and no others.
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
        // One that is closed closes them all: which of them answers is not the operator's
        // choice.
        if found.iter().all(|a| self.reach.admits(a.ip())) {
            Ok(found)
        } else {
            Err(ureq::Error::Other(Box::new(Closed)))
        }
    }
}
