//! The native protocol on both transports, through the real server, beside the automerge-repo protocol.
//!
//! Needs `AETHERFLOW_BIN`.
#![allow(clippy::unwrap_used)]

mod documents;
mod quantum;
mod sessions;
mod steps;

macro_rules! on_both_transports {
    ($($module:ident::$test:ident)*) => {
        mod on_websocket {
            use aetherflow_loadtest::native::Transport;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$module::$test(Transport::WebSocket).await;
                }
            )*
        }
        mod on_quantum {
            use aetherflow_loadtest::native::Transport;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$module::$test(Transport::Quantum).await;
                }
            )*
        }
    };
}

on_both_transports! {
    documents::clients_of_both_protocols_edit_one_document_and_become_equal
    documents::after_a_kill_a_client_goes_on_from_its_offset_and_its_retries_are_stored_once
    documents::a_late_client_gets_a_snapshot_by_nothing_or_by_heads_and_may_read_history
    sessions::a_server_that_stops_answers_sends_clients_away_and_closes_with_a_code
    sessions::a_session_goes_on_over_connections_and_restarts
}
