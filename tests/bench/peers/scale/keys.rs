//! Keysets of any size, made in this process with the library that the companion uses.

use keystile_core::key::{self, Name};

use crate::fixture::Keys;

/// Asked for by every request of this section.
pub const PATH: &str = "/v1/a";

/// No limits, no scopes: what is measured here does not depend on them.
pub const POLICY: &str = "version: 1
credentials: [{ header: x-api-key }]
routes: [{ path: \"/v1/{*rest}\" }]
";

/// Keys to each client.
const KEYS_OF_A_CLIENT: usize = 10;

/// This many keys under a policy, each client having ten, and the text of each.
pub fn made(policy: &str, count: usize) -> (Keys, Vec<String>) {
    let mut keys = Keys::new(policy);
    keys.fill(count);
    let brand: Name = keys.content.policy.brand.parse().expect("a brand");
    let rows = keys.content.rows.iter_mut().enumerate();
    let texts = rows.map(|(n, row)| {
        let fresh = key::generate(&brand, &row.environment, getrandom::fill).expect("a key");
        row.id = fresh.id;
        row.lineage = fresh.id;
        row.digest = fresh.digest;
        let client = n / KEYS_OF_A_CLIENT;
        row.client = format!("client-{client:07}");
        row.client_number = client as u32 + 1;
        fresh.text.expose_secret().to_owned()
    });
    let texts = texts.collect();
    keys.compact();
    (keys, texts)
}
