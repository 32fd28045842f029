//! Taking over what another system knows: clients, plans, and keys by their digests.

use super::{OWNERS, Operation, Route};
use crate::error::Result;
pub use crate::import_lines::{Done, Import};
use crate::operation::Pace;
use crate::registry::import::whole;
use crate::store::Store;
use crate::world::World;

impl Operation for Import {
    type Output = Done;
    const ROUTE: Route = Route::create(
        "import.take",
        "/v1/import",
        OWNERS,
        "Take over clients, plans and keys from another system",
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
