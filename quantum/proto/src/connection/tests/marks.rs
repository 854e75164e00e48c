//! Marks of ECN over paths that treat them in different ways.

use super::*;

/// Whether the client still marks after it has sent for a while.
fn marks(pair: &mut Pair) -> Option<Ecn> {
    for _ in 0..50 {
        send(pair.client(), Priority::Normal, 2000);
        pair.run(10);
    }
    assert!(pair.client().outbox.is_idle(), "everything arrived");
    pair.client().marking.mark()
}

#[test]
fn packets_are_marked_where_marks_pass() {
    let mut pair = Pair::connected(TransportConfig::default());
    assert_eq!(marks(&mut pair), Some(Ecn::Ect0));
    // Also as congestion.
    pair.ecn = |ecn| ecn.map(|_| Ecn::Ce);
    assert_eq!(marks(&mut pair), Some(Ecn::Ect0));
}

#[test]
fn packets_are_not_marked_where_marks_are_wiped_out_or_altered() {
    let paths: [fn(Option<Ecn>) -> Option<Ecn>; 2] = [|_| None, |ecn| ecn.map(|_| Ecn::Ect1)];
    for path in paths {
        // From the beginning, and from some time on.
        for late in [false, true] {
            let mut pair = Pair::new(TransportConfig::default());
            if late {
                assert_eq!(marks(&mut pair), Some(Ecn::Ect0));
            }
            pair.ecn = path;
            assert_eq!(marks(&mut pair), None, "late: {late}");
        }
    }
}

#[test]
fn a_path_that_swallows_marked_packets_is_crossed_all_the_same() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.swallows_marked = true;
    pair.run(200);
    assert!(pair.client().confirmed && pair.server().confirmed);
    assert_eq!(marks(&mut pair), None);
}
