//! Ephemeral messages: from one peer to all others who have the document open, at once and never stored.
//!
//! They do not pass through documents. A sender's messages are forwarded by the task that reads its socket, in the order
//! in which they came, over all documents: receivers drop a message whose `count` is not higher than the last one they
//! saw of its author's session, whatever document that was about.

use std::sync::Arc;

use aetherflow_schema::{
    id::{ConnectionId, DocumentId},
    repo::{FanOut, Message},
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::{audience::Audience, reader::Listener};

/// Who has which document open.
#[derive(Default)]
pub(crate) struct Ephemera(Audience<dyn Listener>);

impl Ephemera {
    /// A connection opened a document.
    pub(crate) fn join(&self, document: &DocumentId, reader: Arc<dyn Listener>) {
        self.0.join(document, reader.connection(), reader);
    }

    /// A connection closed a document.
    pub(crate) fn leave(&self, document: &DocumentId, connection: ConnectionId) {
        self.0.leave(document, connection);
    }

    /// Passes a message on to everybody who has its document open, except its author. To how many.
    pub(crate) fn forward(&self, message: &Message<'_>, author: ConnectionId) -> usize {
        let Some(document) = message.document() else { return 0 };
        let mut count = 0;
        let mut shared = None;
        self.0.each(document, |connection, reader| {
            if connection != author {
                let frame = shared.get_or_insert_with(|| FanOut::new(message)).frame(reader.peer());
                reader.hear(frame);
                count += 1;
            }
        });
        count
    }

    /// What may be done to a document has changed: everybody who has it open looks again.
    pub(crate) fn review(&self, document: &DocumentId) {
        self.0.review(document);
    }
}

/// Whether `data` is one item of well-formed CBOR, not nested too deep. Stock receivers fail on anything else.
///
/// The schema's decoder checks what it skips, so the data is put where it will be skipped.
pub(crate) fn is_cbor(data: &[u8]) -> bool {
    /// A map of two entries: "type": "?", "data": what follows.
    const FRONT: &[u8] = b"\xa2\x64type\x61?\x61-";
    let mut frame = BytesMut::with_capacity(FRONT.len() + data.len());
    frame.put_slice(FRONT);
    frame.put_slice(data);
    let frame: Bytes = frame.freeze();
    Message::decode(&frame).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        task::{Context, Waker},
    };

    use aetherflow_runtime::metrics::Metrics;
    use aetherflow_schema::id::PeerId;
    use uuid::Uuid;

    use super::*;
    use crate::{audience::Reviewed, metrics::GatewayMetrics, outbound::Outbound};

    impl Listener for Outbound {
        fn connection(&self) -> ConnectionId {
            self.id()
        }

        fn peer(&self) -> &str {
            self.peer()
        }

        fn hear(&self, frame: Bytes) {
            self.push_ephemeral(frame);
        }
    }

    impl Reviewed for Outbound {
        fn review(&self) {}
    }

    fn reader(id: u64) -> Arc<Outbound> {
        let metrics = Arc::new(GatewayMetrics::new(&Metrics::default()));
        let outbound = Outbound::new(ConnectionId(id), PeerId("server".into()), 1000, metrics);
        outbound.joined(PeerId(format!("peer {id}").into()));
        Arc::new(outbound)
    }

    fn document(n: u128) -> DocumentId {
        DocumentId::from_uuid(Uuid::from_u128(n))
    }

    fn message(document: DocumentId) -> Message<'static> {
        Message::Ephemeral {
            sender: "peer 1".into(),
            target: "server".into(),
            document,
            session: "s".into(),
            count: 9,
            data: Bytes::from_static(&[0x01]),
        }
    }

    fn received(reader: &Outbound) -> Vec<Bytes> {
        let mut batch = VecDeque::new();
        let _ = reader.poll_take(true, &mut batch, &Context::from_waker(Waker::noop()));
        batch
            .iter()
            .map(|frame| Bytes::copy_from_slice(frame.parts().1))
            .collect()
    }

    #[test]
    fn a_message_reaches_the_others_of_its_document_and_nobody_else() {
        let ephemera = Ephemera::default();
        let readers = [1, 2, 3, 4].map(reader);
        for reader in &readers[..3] {
            ephemera.join(&document(1), reader.clone());
        }
        ephemera.join(&document(2), readers[3].clone());
        ephemera.leave(&document(1), ConnectionId(3));
        assert_eq!(ephemera.forward(&message(document(1)), ConnectionId(1)), 1);
        let counts = readers.each_ref().map(|reader| received(reader).len());
        assert_eq!(counts, [0, 1, 0, 0]);
        ephemera.forward(&message(document(1)), ConnectionId(1));
        let frame = received(&readers[1]).remove(0);
        let mut expected = message(document(1));
        if let Message::Ephemeral { target, .. } = &mut expected {
            *target = "peer 2".into();
        }
        assert_eq!(Message::decode(&frame), Ok(expected));
    }

    #[test]
    fn only_one_item_of_cbor_that_is_not_nested_too_deep_is_cbor() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0x01]].concat();
        for good in [&[0x01][..], b"\xa1\x61x\xf7", b"\x9f\x01\xff", &nested(100)] {
            assert!(is_cbor(good), "{good:x?}");
        }
        for bad in [
            &[][..],
            &[0x01, 0x01],
            &[0x82, 0x01],
            &[0xff],
            &[0x1c],
            &nested(100_000),
        ] {
            assert!(!is_cbor(bad), "{:x?}", &bad[..bad.len().min(9)]);
        }
    }
}
