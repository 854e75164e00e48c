//! Whatever happens on the way, every edit ends with one outcome and all replicas become equal.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aetherflow_schema::id::{ChangeHash, DocumentId};
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
    /// The same under the document's lock, if it is held.
    EditUnder(usize),
    Lock(usize),
    Unlock(usize),
    /// The server takes a lock for expired.
    Expire(usize),
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
    /// The client's process is killed.
    Crash,
    /// The server goes back in time, by so many entries at most.
    RollBack(usize),
    Close(usize),
    Open(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let document = 0..DOCUMENTS;
    let mood = prop_oneof![
        Just(Mood::Overloaded),
        Just(Mood::Unknown),
        Just(Mood::Stopping),
        Just(Mood::Forbidden)
    ];
    let step = prop_oneof![
        8 => (document.clone(), prop::bool::weighted(0.07)).prop_map(|(document, poison)| Step::Edit { document, poison }),
        3 => document.clone().prop_map(Step::EditUnder),
        2 => document.clone().prop_map(Step::Lock),
        1 => document.clone().prop_map(Step::Unlock),
        1 => document.clone().prop_map(Step::Expire),
        8 => Just(Step::HandOver),
        4 => Just(Step::Connect),
        8 => (1_usize..4).prop_map(Step::Serve),
        6 => Just(Step::News),
        8 => (1_usize..6).prop_map(Step::Hear),
        1 => Just(Step::Repeat),
        1 => Just(Step::Cut),
        1 => Just(Step::Crash),
        1 => (1_usize..20).prop_map(Step::RollBack),
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
            clients: (0..CLIENTS).map(|number| Client::with_disk(number, now)).collect(),
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
            Step::EditUnder(document) if self.open[number][document] => {
                if let Some((_, fencing)) = client.held(&id(document)) {
                    let input = client.edit_under(&id(document), fencing);
                    client.under_way.push_back(input);
                }
            }
            Step::EditUnder(_) => {}
            Step::Lock(document) => client.want_lock(now, &id(document)),
            Step::Unlock(document) => client.leave_lock(now, &id(document)),
            Step::Expire(document) => {
                self.server.locks.remove(&id(document));
            }
            Step::HandOver => client.hand_over(now),
            Step::Connect => client.connect(now),
            Step::Serve(count) => (0..count).for_each(|_| client.serve(&mut self.server)),
            Step::News => client.tell_news(&self.server),
            Step::Hear(count) => (0..count).for_each(|_| client.hear(now)),
            Step::Repeat => client.repeat(),
            Step::Cut if client.connected || client.dialing => client.disconnect(now, None),
            Step::Cut => {}
            Step::Mood(mood) => client.mood = mood,
            Step::Crash => {
                self.server.end_session(client.server_session);
                client.crash(now);
            }
            Step::RollBack(entries) => self.roll_back(entries),
            Step::Close(document) => {
                if std::mem::replace(&mut self.open[number][document], false) {
                    client.close(now, &id(document));
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

    /// As far back as everybody can notice: who has the receipt of an entry, and not yet the entry, would not.
    fn roll_back(&mut self, entries: usize) {
        let length = self.server.log.len();
        let mut left = length.saturating_sub(entries);
        for client in &self.clients {
            for (document, _, outcome) in &client.outcomes {
                let Outcome::Committed { offset, .. } = outcome else {
                    continue;
                };
                let cursor = client.cursors.get(document).map_or(0, |cursor| cursor.0);
                if offset.0 > cursor {
                    left = left.max(offset.0 as usize);
                }
            }
        }
        if left == length {
            return;
        }
        self.server.roll_back(left);
        for client in &mut self.clients {
            if client.connected || client.dialing {
                client.disconnect(self.now, None);
            }
        }
    }

    /// Nothing bad happens any more, and time passes.
    fn settle(&mut self) {
        for _ in 0..400 {
            for number in 0..CLIENTS {
                while !self.clients[number].under_way.is_empty() {
                    self.step(number, Step::HandOver);
                }
                (0..DOCUMENTS).for_each(|document| self.step(number, Step::Open(document)));
                (0..DOCUMENTS).for_each(|document| self.step(number, Step::Unlock(document)));
                for step in [Step::Connect, Step::Serve(9), Step::News, Step::Hear(99)] {
                    self.step(number, step);
                }
            }
            self.step(0, Step::Pass(300));
        }
    }

    fn check(&self) {
        assert!(self.server.locks.is_empty(), "what nobody wants is given back");
        self.clients.iter().for_each(Client::check_locks);
        for document in (0..DOCUMENTS).map(id) {
            let expected = self.server.document(&document).get_heads();
            for client in &self.clients {
                let found = client.replicas[&document].document().get_heads();
                assert_eq!(found, expected, "client {} of {document}", client.number);
            }
        }
        for client in &self.clients {
            let mut outcomes: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for (document, hash, outcome) in &client.outcomes {
                outcomes.entry((document.clone(), *hash)).or_default().push(outcome);
            }
            assert_eq!(client.session.unsettled(), 0);
            for edit in &client.edits {
                let outcome = outcomes.remove(edit);
                let outcome = outcome.unwrap_or_else(|| panic!("no outcome of {edit:?}"));
                // What a server has lost is submitted again, which nobody waits for.
                assert!(
                    outcome.len() == 1 || self.server.rolled_back,
                    "one outcome: {outcome:?}"
                );
                self.check_outcome(client, edit, outcome[0]);
            }
        }
    }

    fn check_outcome(&self, client: &Client, edit: &(DocumentId, ChangeHash), outcome: &Outcome) {
        let stored = self.server.offset(&edit.0, &edit.1);
        let Server {
            poison,
            forbidden,
            rolled_back,
            ..
        } = &self.server;
        match outcome {
            Outcome::Committed { .. } if *rolled_back => {
                let is_lost = stored.is_none();
                assert!(!is_lost || self.was_taken_out(edit), "it got lost: {edit:?}");
            }
            // The place, unless it was refused when it was there already.
            Outcome::Committed { offset, .. } => {
                assert!(
                    stored.is_some_and(|stored| stored == *offset || forbidden.contains(&edit.1) && stored < *offset)
                );
            }
            Outcome::Refused(_) => {
                let was_late = client.made_under.contains(&edit.1);
                assert!(
                    poison.contains(&edit.1) || forbidden.contains(&edit.1) || was_late,
                    "refused for no reason"
                );
                // What a server has lost, others who have it give it again.
                assert!(
                    stored.is_none() || *rolled_back,
                    "it is stored, and was refused: {edit:?}"
                );
            }
            Outcome::Dependent(on) => {
                let taken_out = self.was_taken_out(&(edit.0.clone(), *on));
                let was_late = self.clients.iter().any(|client| client.made_under.contains(on));
                assert!(poison.contains(on) || forbidden.contains(on) || taken_out || was_late);
            }
        }
    }

    /// Somebody was told that it was taken out, perhaps with what it was made on.
    fn was_taken_out(&self, edit: &(DocumentId, ChangeHash)) -> bool {
        let outcomes = self.clients.iter().flat_map(|client| &client.outcomes);
        outcomes
            .filter(|(document, hash, _)| (document, hash) == (&edit.0, &edit.1))
            .any(|(_, _, outcome)| !matches!(outcome, Outcome::Committed { .. }))
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
