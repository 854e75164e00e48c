//! How much an endpoint keeps, so that tests can see that it is bounded whatever clients do.

use super::Endpoint;

impl Endpoint {
    /// Ids that lead to a connection.
    #[doc(hidden)]
    pub fn known_ids(&self) -> usize {
        self.ids.len()
    }
}
