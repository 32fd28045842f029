//! Names of headers.

use crate::policy::RawIdentity;
use crate::request::credential::folded;

/// Where browsers put a key when they open a WebSocket: they can send no header of their own.
pub(crate) const PROTOCOLS: &str = "sec-websocket-protocol";

/// Whether a server that turns names into variables would read a header as an identity header.
pub(crate) fn is_identity(identity: &RawIdentity, name: &[u8]) -> bool {
    let ours = [&identity.client, &identity.key, &identity.scopes];
    ours.into_iter().any(|ours| same_name(ours, name))
}

/// Whether a server that turns names into variables would read `name` as `ours`. No name equals the
/// empty one.
pub(crate) fn same_name(ours: &str, name: &[u8]) -> bool {
    !ours.is_empty()
        && ours.len() == name.len()
        && ours.bytes().zip(name).all(|(a, &b)| folded(a) == folded(b))
}
