//! Whatever happens on the way, every edit ends with one outcome and all replicas become equal.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aetherflow_schema::id::DocumentId;
use proptest::prelude::*;

use super::{
    super::{Input, Outcome},
    model::{Client, Mood, Server},
};

const CLIENTS: usize = 2;
const DOCUMENTS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    /// An edit, which the server will never take or may.
    Edit {
        document: usize,
        poison: bool,
    },
    /// The session hears of an edit.
    HandOver,
    Connect,
    /// So many frames.
    Serve(usize),
    News,
    Hear(usize),
    Repeat,
    Cut,
    Mood(Mood),
    Close(usize),
    Open(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let document = 0..DOCUMENTS;
    let mood = prop_oneof![Just(Mood::Overloaded), Just(Mood::Unknown), Just(Mood::Stopping)];
    let step = prop_oneof![
        8 => (document.clone(), prop::bool::weighted(0.07)).prop_map(|(document, poison)| Step::Edit { document, poison }),
        8 => Just(Step::HandOver),
        4 => Just(Step::Connect),
        8 => (1_usize..4).prop_map(Step::Serve),
        6 => Just(Step::News),
        8 => (1_usize..6).prop_map(Step::Hear),
        1 => Just(Step::Repeat),
        1 => Just(Step::Cut),
        2 => mood.prop_map(Step::Mood),
        1 => document.clone().prop_map(Step::Close),
        2 => document.prop_map(Step::Open),
        6 => (1_u64..3_000).prop_map(Step::Pass),
    ];
    (0..CLIENTS, step)
}

struct World {
    now: Instant,
    server: Server,
    clients: Vec<Client>,
    open: Vec<[bool; DOCUMENTS]>,
}

fn id(document: usize) -> DocumentId {
    DocumentId::from_bytes(&[document as u8 + 1; 16]).unwrap()
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            server: Server::default(),
            clients: (0..CLIENTS).map(|number| Client::new(number, now)).collect(),
            open: vec![[true; DOCUMENTS]; CLIENTS],
        };
        for client in &mut world.clients {
            (0..DOCUMENTS).for_each(|document| client.open(now, &id(document)));
        }
        world
    }

    fn step(&mut self, number: usize, step: Step) {
        let now = self.now;
        let client = &mut self.clients[number];
        match step {
            Step::Edit { document, poison } if self.open[number][document] => {
                let (hash, input) = client.edit(&id(document));
                if poison {
                    self.server.poison.insert(hash);
                }
                client.under_way.push_back(input);
            }
            Step::Edit { .. } => {}
            Step::HandOver => client.hand_over(now),
            Step::Connect => client.connect(now),
            Step::Serve(count) => (0..count).for_each(|_| client.serve(&mut self.server)),
            Step::News => client.tell_news(&self.server),
            Step::Hear(count) => (0..count).for_each(|_| client.hear(now)),
            Step::Repeat => client.repeat(),
            Step::Cut if client.connected || client.dialing => client.disconnect(now, None),
            Step::Cut => {}
            Step::Mood(mood) => client.mood = mood,
            Step::Close(document) => {
                if std::mem::replace(&mut self.open[number][document], false) {
                    client.tell(now, Input::Close(id(document)));
                }
            }
            Step::Open(document) => {
                if !std::mem::replace(&mut self.open[number][document], true) {
                    client.open(now, &id(document));
                }
            }
            Step::Pass(ms) => {
                self.now += Duration::from_millis(ms);
                self.clients
                    .iter_mut()
                    .for_each(|client| client.tell(self.now, Input::Tick));
            }
        }
        self.clients.iter_mut().for_each(|client| client.send(self.now));
    }

    /// Nothing bad happens any more, and time passes.
    fn settle(&mut self) {
        for _ in 0..400 {
            for number in 0..CLIENTS {
                while !self.clients[number].under_way.is_empty() {
                    self.step(number, Step::HandOver);
                }
                (0..DOCUMENTS).for_each(|document| self.step(number, Step::Open(document)));
                for step in [Step::Connect, Step::Serve(9), Step::News, Step::Hear(99)] {
                    self.step(number, step);
                }
            }
            self.step(0, Step::Pass(300));
        }
    }

    fn check(&self) {
        for document in (0..DOCUMENTS).map(id) {
            let expected = self.server.document(&document).get_heads();
            for client in &self.clients {
                let found = client.replicas[&document].document().get_heads();
                assert_eq!(found, expected, "client {} of {document}", client.number);
            }
        }
        for client in &self.clients {
            let mut outcomes = BTreeMap::new();
            for (document, hash, outcome) in &client.outcomes {
                let before = outcomes.insert((document.clone(), *hash), outcome);
                assert_eq!(before, None, "one outcome");
            }
            assert_eq!(client.session.unsettled(), 0);
            for edit in &client.edits {
                let outcome = outcomes.remove(edit);
                let stored = self.server.offset(&edit.0, &edit.1);
                match outcome.unwrap_or_else(|| panic!("no outcome of {edit:?}")) {
                    Outcome::Committed { offset, .. } => assert_eq!(Some(*offset), stored),
                    Outcome::Refused(_) => {
                        assert!(self.server.poison.contains(&edit.1), "only what is invalid is refused");
                        assert_eq!(stored, None);
                    }
                    Outcome::Dependent(on) => assert!(self.server.poison.contains(on)),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_edit_ends_with_one_outcome_and_all_replicas_become_equal(
        steps in prop::collection::vec(step(), 0..250),
    ) {
        let mut world = World::new();
        for (client, step) in steps {
            world.step(client, step);
        }
        world.settle();
        world.check();
    }
}
