//! What somebody wrote, and where sessions were, as a test says.

use std::sync::Mutex;

use aetherflow_schema::{
    documents::{BoxFuture, DocumentError},
    history::{Arrival, Arrivals, ArrivalsError, AuthoredPage, AuthoredQuery, EntryHistory},
    id::SessionId,
};

#[derive(Default)]
pub(crate) struct Book {
    pub(crate) page: Mutex<AuthoredPage>,
    pub(crate) asked: Mutex<Vec<AuthoredQuery>>,
    pub(crate) arrivals: Mutex<Vec<Arrival>>,
}

impl EntryHistory for Book {
    fn authored(&self, query: AuthoredQuery) -> BoxFuture<'_, Result<AuthoredPage, DocumentError>> {
        self.asked.lock().unwrap().push(query);
        let page = self.page.lock().unwrap().clone();
        Box::pin(async move { Ok(page) })
    }
}

impl Arrivals for Book {
    fn note(&self, arrival: Arrival) {
        self.arrivals.lock().unwrap().push(arrival);
    }

    fn find(&self, sessions: Vec<(SessionId, u64)>) -> BoxFuture<'_, Result<Vec<Option<Arrival>>, ArrivalsError>> {
        let arrivals = self.arrivals.lock().unwrap();
        let newest = |session| {
            arrivals
                .iter()
                .rev()
                .find(|arrival| arrival.session == session)
                .cloned()
        };
        let found = sessions.into_iter().map(|(session, _)| newest(session)).collect();
        Box::pin(async move { Ok(found) })
    }
}
