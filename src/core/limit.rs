//! What bounds how often a key may be used: token buckets, the leases that workers take out of
//! them, and allowances by day or month.

pub mod bucket;
pub mod lease;
pub mod quota;
