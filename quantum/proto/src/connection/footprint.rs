//! For fuzzers: how much a connection keeps, to see that it is bounded whatever the peer does; and being such a peer.

use crate::{
    connection::{Connection, receive::DATAGRAMS_MAX},
    pmtu::Pmtu,
    time::Time,
};

impl Connection {
    /// What is kept beyond messages: its name, how many, and the most that there may be. Messages are bounded by flow control, packets
    /// in flight by the congestion window.
    #[doc(hidden)]
    pub fn footprint(&self) -> impl Iterator<Item = (&'static str, usize, usize)> {
        let receipts = self.receipts.each_ref().map(|receipts| receipts.kept());
        let [payloads, blocks, repeats, parities, copies] = self.protection.kept();
        let [spare, announced, retiring] = self.ids.kept();
        let named = |name, (have, most): (usize, usize)| (name, have, most);
        [
            named("ranges of the initial space", receipts[0]),
            named("ranges of the handshake space", receipts[1]),
            named("ranges of the application space", receipts[2]),
            named("payloads of sources", payloads),
            named("open blocks", blocks),
            named("repeats", repeats),
            named("parities", parities),
            named("copies to rescue", copies),
            named("unused ids", spare),
            named("announced ids", announced),
            named("retiring ids", retiring),
            named("responses", self.outgoing.responses_kept()),
            named(
                "datagrams to send",
                (self.outgoing.datagrams.len(), self.config.datagram_queue),
            ),
            named("datagrams received", (self.datagrams_in.len(), DATAGRAMS_MAX)),
        ]
        .into_iter()
    }

    /// Seals these bytes as the frames of an application packet, whatever they are, and appends it to `out`. Only as many as fit.
    #[doc(hidden)]
    pub fn send_hostile(&mut self, now: Time, frames: &[u8], out: &mut Vec<u8>) {
        if self.confirmed && self.state.is_open() {
            let mut packet = self.begin_aside(usize::from(Pmtu::BASE), out);
            let room = packet.room();
            packet.out.extend(frames.iter().take(room));
            packet.asks_for_ack = true;
            let _ = self.send_packet(now, packet);
        }
    }
}
