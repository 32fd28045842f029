//! What an operation reads before its turn to write.

use std::any::Any;
use std::sync::Arc;

/// What an operation has read ahead, while others could write: it looks again, when it is its turn,
/// at what has changed since. By default nothing.
#[derive(Clone, Default)]
pub struct Ahead(Option<Arc<dyn Any + Send + Sync>>);

impl Ahead {
    /// This.
    pub fn holding<T: Any + Send + Sync>(read: T) -> Self {
        Self(Some(Arc::new(read)))
    }

    /// What was read, if anything was.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.as_ref()?.downcast_ref()
    }
}
