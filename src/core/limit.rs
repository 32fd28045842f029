//! What limits the use of a key: token buckets, the leases that workers take from them, and quotas
//! by day or month.

pub mod bucket;
pub mod lease;
pub mod memory;
pub mod quota;
