//! What limits the use of a key: token buckets, the leases that workers take from them, and quotas
//! by day or month. And how many unknown keys an address may try.

pub mod attempts;
pub mod bucket;
pub mod lease;
pub mod memory;
pub mod quota;
