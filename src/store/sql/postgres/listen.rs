//! Notifications from other processes about the database, as they are sent (`LISTEN`).

use std::time::Duration;

use keystile_model::error::Result;
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator as _;

use super::trouble::{lost, trouble};
use super::{DatabaseAddress, Part, leave};
use std::sync::Arc;

/// A connection that only listens.
pub struct ChangeListener {
    address: Arc<DatabaseAddress>,
    client: Option<Client>,
}

impl ChangeListener {
    /// Listens for notifications about a store: its channel has the name of its schema.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub fn open(address: &Arc<DatabaseAddress>) -> Result<Self> {
        let at = |e| trouble(&e, address);
        let mut client = address.connect().map_err(at)?;
        let listen = format!("LISTEN {}", address.schema(Part::Store));
        client.batch_execute(&listen).map_err(at)?;
        Ok(Self {
            address: Arc::clone(address),
            client: Some(client),
        })
    }

    /// Waits for a notification, but no longer than this, and returns it.
    ///
    /// # Errors
    /// If the connection was lost.
    pub fn wait(&mut self, most: Duration) -> Result<Option<String>> {
        let Some(client) = &mut self.client else {
            return Err(lost(&self.address));
        };
        let said = client.notifications().timeout_iter(most).next();
        let said = said.map_err(|e| trouble(&e, &self.address))?;
        match said {
            Some(said) => Ok(Some(said.payload().to_owned())),
            None if client.is_closed() => Err(lost(&self.address)),
            None => Ok(None),
        }
    }
}

impl Drop for ChangeListener {
    fn drop(&mut self) {
        leave(self.client.take());
    }
}
