//! The connections there are, and who joined under which name.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use aetherflow_schema::{
    access::Principal,
    close::CloseCode,
    id::{ConnectionId, PeerId},
};

use crate::{
    close::Close,
    lock,
    outbound::{Ending, Outbound},
};

/// Who joined under a name.
struct Joined {
    connection: ConnectionId,
    principal: Principal,
}

/// All connections of a gateway.
#[derive(Default)]
pub(crate) struct Peers {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    connections: HashMap<ConnectionId, Arc<Outbound>>,
    peers: HashMap<PeerId, Joined>,
    /// The server stops: how every connection ends, new ones too.
    stopping: Option<Close>,
}

impl Peers {
    /// Adds a connection. When the server is stopping already it is told so.
    pub(crate) fn add(&self, outbound: &Arc<Outbound>) {
        let mut inner = lock(&self.inner);
        inner.connections.insert(outbound.id(), outbound.clone());
        if let Some(close) = &inner.stopping {
            outbound.end(Ending::Finish(close.clone()));
        }
    }

    /// A connection of this principal joined under this name; an older one of the same name is closed.
    ///
    /// # Errors
    /// When somebody else is connected under this name: then nothing happens to them.
    pub(crate) fn join(&self, peer: PeerId, principal: &Principal, outbound: &Outbound) -> Result<(), Close> {
        let mut inner = lock(&self.inner);
        let taken =
            |joined: &Joined| joined.principal != *principal && inner.connections.contains_key(&joined.connection);
        if inner.peers.get(&peer).is_some_and(taken) {
            return Err(Close::because(CloseCode::Forbidden, "this peer id is somebody else's"));
        }
        let joined = Joined {
            connection: outbound.id(),
            principal: principal.clone(),
        };
        let older = inner.peers.insert(peer, joined);
        if let Some(older) = older.and_then(|older| inner.connections.get(&older.connection)) {
            older.end(Ending::Now(Close::plain(CloseCode::Replaced)));
        }
        Ok(())
    }

    /// Ends the connections that came with this API key.
    pub(crate) fn revoke(&self, credential: &str) {
        let inner = lock(&self.inner);
        let came = |outbound: &&Arc<Outbound>| outbound.has_credential(credential);
        for outbound in inner.connections.values().filter(came) {
            let close = Close::because(CloseCode::Unauthorized, "the key was revoked");
            outbound.end(Ending::Now(close));
        }
    }

    /// A connection is gone; if it was replaced, the one that replaced it stays.
    pub(crate) fn remove(&self, outbound: &Outbound, peer: Option<&PeerId>) {
        let mut inner = lock(&self.inner);
        inner.connections.remove(&outbound.id());
        if let Some(peer) = peer
            && inner
                .peers
                .get(peer)
                .is_some_and(|joined| joined.connection == outbound.id())
        {
            inner.peers.remove(peer);
        }
    }

    /// Ends all connections, after finishing, and those still to come.
    pub(crate) fn stop(&self, close: &Close) {
        let mut inner = lock(&self.inner);
        inner.stopping = Some(close.clone());
        for outbound in inner.connections.values() {
            outbound.end(Ending::Finish(close.clone()));
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        lock(&self.inner).connections.len()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        task::{Context, Poll, Waker},
    };

    use aetherflow_runtime::metrics::Metrics;
    use aetherflow_schema::access::Identity;

    use super::*;
    use crate::metrics::GatewayMetrics;

    fn connection(id: u64) -> Arc<Outbound> {
        let metrics = Arc::new(GatewayMetrics::new(&Metrics::default()));
        Arc::new(Outbound::new(ConnectionId(id), PeerId("server".into()), 100, metrics))
    }

    fn ending(outbound: &Outbound) -> Option<CloseCode> {
        match outbound.poll_take(true, &mut VecDeque::new(), &Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ending::Now(close) | Ending::Finish(close))) => Some(close.code),
            _ => None,
        }
    }

    #[test]
    fn the_newest_connection_of_a_peer_stays_whenever_the_older_one_leaves() {
        let peers = Peers::default();
        let [old, new, newest] = [1, 2, 3].map(connection);
        let name = PeerId("ada".into());
        for outbound in [&old, &new] {
            peers.add(outbound);
            peers.join(name.clone(), &Principal::anonymous(), outbound).unwrap();
        }
        assert_eq!(ending(&old), Some(CloseCode::Replaced));
        assert_eq!(ending(&new), None);
        peers.remove(&old, Some(&name));
        peers.add(&newest);
        peers.join(name.clone(), &Principal::anonymous(), &newest).unwrap();
        assert_eq!(ending(&new), Some(CloseCode::Replaced), "it was still known");
        peers.remove(&new, Some(&name));
        peers.remove(&newest, Some(&name));
        assert_eq!(peers.len(), 0);
        assert!(lock(&peers.inner).peers.is_empty());
    }

    #[test]
    fn nobody_joins_under_the_name_of_somebody_else_who_is_there() {
        let peers = Peers::default();
        let [ada, eve] = [1, 2].map(connection);
        let name = PeerId("laptop".into());
        let [first, second] = ["ada", "eve"].map(|name| Principal::named(name).unwrap());
        peers.add(&ada);
        peers.add(&eve);
        peers.join(name.clone(), &first, &ada).unwrap();
        let refused = peers.join(name.clone(), &second, &eve).unwrap_err();
        assert_eq!(refused.code, CloseCode::Forbidden);
        assert_eq!(ending(&ada), None);
        peers.remove(&eve, Some(&name));
        assert!(
            peers.join(name.clone(), &second, &eve).is_err(),
            "its name was not given up"
        );
        peers.remove(&ada, Some(&name));
        assert!(peers.join(name, &second, &eve).is_ok());
    }

    #[test]
    fn with_a_key_go_those_who_came_with_it() {
        let peers = Peers::default();
        let [one, other] = [1, 2].map(connection);
        let mut identity = Identity::anonymous();
        for (outbound, key) in [(&one, "a"), (&other, "b")] {
            identity.credential = Some(key.into());
            outbound.came_with(&identity);
            peers.add(outbound);
        }
        peers.revoke("a");
        assert_eq!((ending(&one), ending(&other)), (Some(CloseCode::Unauthorized), None));
        identity.credential = Some("c".into());
        other.came_with(&identity);
        peers.revoke("b");
        assert_eq!(ending(&other), None, "it showed another one since");
        peers.revoke("c");
        assert_eq!(ending(&other), Some(CloseCode::Unauthorized));
    }

    #[test]
    fn a_stop_reaches_those_who_are_there_and_those_who_come() {
        let peers = Peers::default();
        let [there, late] = [1, 2].map(connection);
        peers.add(&there);
        peers.stop(&Close::plain(CloseCode::GoingAway));
        peers.add(&late);
        assert_eq!(ending(&there), Some(CloseCode::GoingAway));
        assert_eq!(ending(&late), Some(CloseCode::GoingAway));
    }
}
