//! Between messages and what they mean.

use aetherflow_schema::{
    access::Principal,
    id::{ConnectionId, DocumentId, Offset, SessionId},
    sessions::{
        ClientId, NodeId, SessionFilter, SessionInfo, SessionState, SessionStatistics, TrafficStats,
        record::cursors_to_wire, wire,
    },
};
use tonic::Status;

use super::status::invalid;
use crate::{
    core::{
        effects::{SessionChange, SessionEvent},
        lifecycle::SessionPatch,
    },
    service::NewSession,
};

pub(super) fn session_id(field: &str, text: &str) -> Result<SessionId, Status> {
    match text.parse() {
        Ok(id) if text.len() == 36 => Ok(SessionId(id)),
        _ => Err(invalid(field, "must be the 36 characters of a UUID")),
    }
}

fn principal(name: &str) -> Result<Principal, Status> {
    Principal::named(name).ok_or_else(|| invalid("principal", "must have 1 to 255 bytes"))
}

fn document(field: &str, id: &[u8]) -> Result<DocumentId, Status> {
    DocumentId::from_bytes(id).map_err(|error| invalid(field, &error.to_string()))
}

pub(super) fn session(info: &SessionInfo) -> wire::Session {
    wire::Session {
        id: info.id.to_string(),
        principal: info.principal.as_str().to_owned(),
        client_id: info.client.as_str().to_owned(),
        node: info.node.as_str().to_owned(),
        connection: info.connection.map(|connection| connection.0),
        protocol: wire::SessionProtocol::from(info.protocol).into(),
        peer: info.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        created_ms: info.created_ms,
        heard_ms: info.heard_ms,
        state: wire::SessionState::from(info.state).into(),
        resumable: info.resumable,
        attributes: info.attributes.clone(),
        cursors: cursors_to_wire(&info.cursors),
        traffic: Some(traffic(&info.traffic)),
        revision: info.revision,
    }
}

fn traffic(stats: &TrafficStats) -> wire::SessionTraffic {
    wire::SessionTraffic {
        bytes_in: stats.bytes_in,
        bytes_out: stats.bytes_out,
        packets_in: stats.packets_in,
        packets_out: stats.packets_out,
        retransmissions: stats.retransmissions,
        rtt_us: stats.rtt_us,
    }
}

pub(super) fn event(event: &SessionEvent) -> wire::SessionEvent {
    let kind = match event.change {
        SessionChange::Created => wire::SessionEventKind::Created,
        SessionChange::Updated => wire::SessionEventKind::Updated,
        SessionChange::Ended => wire::SessionEventKind::Ended,
    };
    wire::SessionEvent {
        kind: kind.into(),
        session: Some(session(&event.session)),
    }
}

pub(super) fn statistics(statistics: &SessionStatistics) -> wire::StatisticsResponse {
    let states = SessionState::ALL.iter().zip(statistics.in_state);
    wire::StatisticsResponse {
        states: states
            .map(|(state, sessions)| wire::statistics_response::InState {
                state: wire::SessionState::from(*state).into(),
                sessions,
            })
            .collect(),
        principals: statistics.principals,
        opened: statistics.opened,
        resumed: statistics.resumed,
        resume_refused: statistics.resume_refused,
        ended: statistics.ended,
        expired: statistics.expired,
        traffic: Some(traffic(&statistics.traffic)),
    }
}

pub(super) fn filter(filter: Option<wire::SessionFilter>) -> Result<SessionFilter, Status> {
    let Some(filter) = filter else {
        return Ok(SessionFilter::default());
    };
    let mut states = Vec::new();
    for state in filter.states() {
        let state = SessionState::try_from(state);
        states.push(state.map_err(|()| invalid("filter.states", "must be states that there are"))?);
    }
    let node = match &*filter.node {
        "" => None,
        name => Some(NodeId::named(name).ok_or_else(|| invalid("filter.node", "must be a node's name"))?),
    };
    let connection = match (&node, filter.connection) {
        (_, None) => None,
        (Some(node), Some(connection)) => Some((node.clone(), ConnectionId(connection))),
        (None, Some(_)) => return Err(invalid("filter.connection", "needs a node")),
    };
    Ok(SessionFilter {
        principal: match &*filter.principal {
            "" => None,
            name => Some(principal(name)?),
        },
        connection,
        node,
        states,
        document: match &filter.document[..] {
            [] => None,
            id => Some(document("filter.document", id)?),
        },
    })
}

pub(super) fn new_session(request: wire::CreateSessionRequest) -> Result<NewSession, Status> {
    let client = ClientId::named(&request.client_id);
    Ok(NewSession {
        principal: principal(&request.principal)?,
        client: client.ok_or_else(|| invalid("client_id", "must have at most 256 bytes"))?,
        attributes: request.attributes,
        peer: match &*request.peer {
            "" => None,
            peer => Some(
                peer.parse()
                    .map_err(|_| invalid("peer", "must be an address and port"))?,
            ),
        },
    })
}

pub(super) fn patch(request: wire::UpdateSessionRequest) -> Result<SessionPatch, Status> {
    let set = request
        .set_attributes
        .into_iter()
        .map(|(name, value)| (name, Some(value)));
    let removed = request.remove_attributes.into_iter().map(|name| (name, None));
    let mut cursors = Vec::new();
    for cursor in &request.set_cursors {
        let document = document("set_cursors.document", &cursor.document)?;
        cursors.push((document, Some(Offset(cursor.offset))));
    }
    for id in &request.remove_cursors {
        cursors.push((document("remove_cursors", id)?, None));
    }
    Ok(SessionPatch {
        expected: request.expected_revision,
        attributes: set.chain(removed).collect(),
        cursors,
    })
}
