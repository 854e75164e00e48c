//! The packet size finds the path's, up and down.

use quantum_proto::Time;

use crate::{
    app::Kind,
    link::{LinkSpec, Loss},
    pair::{MS, SECOND, Setup},
    sweep::seeds,
};

#[test]
fn the_largest_size_is_found() {
    for mtu in [1200, 1280, 1372, 1452, 1472] {
        let link = LinkSpec {
            mtu,
            ..LinkSpec::clean(MS * 10).limited(10_000_000, 1.0)
        };
        let mut pair = Setup::new(1, link)
            .client(|app| app.bulk(Kind::BULK, SECOND * 5))
            .server(|app| app.rate(Kind::RT, 20, SECOND * 5))
            .start();
        pair.run_to_end(SECOND * 10);
        let found = usize::from(pair.client_stats().mtu);
        assert!(found <= mtu.min(1452), "{found} on {mtu}");
        assert!(found + 20 >= mtu.min(1452), "{found} on {mtu}");
        // A lost probe is no sign of congestion.
        let bulk = pair.bulk_bits();
        assert!(bulk >= 40_000_000, "{bulk} bits on {mtu}");
    }
}

#[test]
fn a_black_hole_is_left_again() {
    seeds(6, |seed| {
        let link = LinkSpec::clean(MS * 20)
            .limited(10_000_000, 1.0)
            .losing(Loss::Bernoulli(0.01));
        let mut pair = Setup::new(seed, link)
            .client(|app| app.bulk(Kind::BULK, SECOND * 8))
            .server(|app| app.bulk(Kind::BULK, SECOND * 8))
            .start();
        pair.run_for(SECOND * 4);
        assert_eq!(pair.client_stats().mtu, 1452);
        pair.world.links.iter_mut().for_each(|link| link.spec.mtu = 1300);
        pair.run_to_end(SECOND * 40);
        assert!(
            (1200..=1300).contains(&pair.client_stats().mtu),
            "{}",
            pair.client_stats().mtu
        );
        assert!(
            (1200..=1300).contains(&pair.server_stats().mtu),
            "{}",
            pair.server_stats().mtu
        );
        let (up, down) = pair.expect_complete();
        assert!(
            up.stall.max(down.stall) <= SECOND * 3,
            "{:?} {:?}",
            up.stall,
            down.stall
        );
        assert!(
            pair.server()
                .received
                .iter()
                .any(|record| record.at > Time::ZERO + SECOND * 7)
        );
    });
}
