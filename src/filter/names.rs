//! Names of filter state that we set; Envoy puts `wasm.` before them.

/// The caller.
pub const STATE_CLIENT: &str = "keystile.client";
/// The id of its key.
pub const STATE_KEY: &str = "keystile.key";
/// Why it was refused.
pub const STATE_REASON: &str = "keystile.reason";
/// The template of the route on which a known key was refused.
pub const STATE_ROUTE: &str = "keystile.route";
/// The limit or the quota that refused it.
pub const STATE_LIMIT: &str = "keystile.limit";
/// What the guard asks for: that it begins with [`keystile_core::decide::MARK`].
pub const STATE_PASS: &str = "keystile.pass";
/// The name of our filter if there is only one; its guard asks for [`STATE_PASS`].
pub const USUAL_NAME: &str = "keystile";
