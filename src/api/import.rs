//! Importing clients, plans, and keys (by their digests) from another system.

use super::{Endpoint, OWNERS, Operation};
use crate::Pace;
use keystile_model::error::Result;
pub use keystile_model::import_lines::{Done, Import};
use keystile_model::world::World;
use keystile_registry::import::whole;
use keystile_store::Store;

impl Operation for Import {
    type Output = Done;
    const ENDPOINT: Endpoint = Endpoint::create(
        "import.take",
        "/v1/import",
        OWNERS,
        "Import clients, plans and keys from another system",
    )
    .carries_file();

    fn writes(&self) -> bool {
        !self.dry_run
    }

    fn pace(&self) -> Pace {
        Pace::Long
    }

    fn run(self, store: &mut Store, world: &World) -> Result<Done> {
        whole::take(store, world, self)
    }
}
