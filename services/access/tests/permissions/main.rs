//! Permissions over a real log core in memory: written, followed, and read again after a restart.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

mod world;

use std::task::Poll;

use aetherflow_access::AccessOptions;
use aetherflow_schema::access::{
    Grant, Grantee, Identity, Operation, PermissionChange, Permissions, PermissionsError, Principal, Role,
};

use crate::world::{World, caller, document, until, user};

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_its_authors_from_the_moment_it_is_committed() {
    let world = World::new(&AccessOptions::default()).await;
    let (ada, bob, nobody) = (user("ada"), user("bob"), Identity::anonymous());
    for n in 1..=50 {
        let id = document(n);
        assert!(world.may(&bob, Operation::Read, &id), "what is not there hides nothing");
        assert!(world.may(&bob, Operation::Write, &id) && !world.may(&nobody, Operation::Write, &id));
        world.edit(&id, &ada, n).await;
        // At once: no task had to run in between.
        for operation in Operation::ALL {
            assert!(world.may(&ada, operation, &id), "{operation:?}");
            assert!(!world.may(&bob, operation, &id), "{operation:?}");
            assert!(!world.may(&nobody, operation, &id), "{operation:?}");
        }
    }
    assert_eq!(world.access.documents(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_events_that_count_at_once_and_after_a_restart() {
    let world = World::new(&AccessOptions::default()).await;
    let (ada, bob, eve) = (user("ada"), user("bob"), user("eve"));
    let id = document(1);
    world.edit(&id, &ada, 1).await;
    let granted = world.change(&ada, &id, "bob", Some(Role::Editor)).await.unwrap();
    assert!(world.may(&bob, Operation::Write, &id));
    world.change(&ada, &id, "*", Some(Role::Viewer)).await.unwrap();
    assert!(world.may(&eve, Operation::Read, &id) && !world.may(&eve, Operation::Write, &id));
    let revoked = world.change(&ada, &id, "bob", None).await.unwrap();
    assert!(granted < revoked);
    assert!(!world.may(&bob, Operation::Read, &id));
    assert!(world.ear.0.lock().unwrap().len() >= 3);

    let storage = world.storage.clone();
    drop(world);
    let world = World::over(storage, &AccessOptions::default()).await;
    assert!(!world.may(&bob, Operation::Read, &id));
    assert!(world.may(&eve, Operation::Read, &id) && world.may(&ada, Operation::Administer, &id));
    let grant = Grant::check(&world.access, &caller(&ada), Operation::Administer, &id).unwrap();
    let listed = world.access.list(&grant);
    let bob = listed
        .iter()
        .find(|permission| permission.grantee.to_string() == "bob")
        .unwrap();
    assert_eq!((bob.role, bob.since), (None, revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_keeps_an_owner() {
    let world = World::new(&AccessOptions::default()).await;
    let (ada, mut server) = (user("ada"), user("x"));
    server.principal = Principal::named("server:backend").unwrap();
    server.grants.everywhere = Some(Role::Owner);
    let id = document(1);
    world.edit(&id, &ada, 1).await;
    for role in [None, Some(Role::Viewer), Some(Role::Editor)] {
        let refused = world.change(&ada, &id, "ada", role).await;
        assert!(matches!(refused, Err(PermissionsError::Conflict(_))), "{role:?}");
    }
    let everybody = world.change(&ada, &id, "public", Some(Role::Owner)).await;
    assert!(matches!(everybody, Err(PermissionsError::Conflict(_))));
    world.change(&ada, &id, "bob", Some(Role::Owner)).await.unwrap();
    world.change(&ada, &id, "ada", None).await.unwrap();
    assert!(!world.may(&ada, Operation::Read, &id) && world.may(&user("bob"), Operation::Administer, &id));
    world.change(&server, &id, "bob", None).await.unwrap();
    assert!(world.may(&server, Operation::Administer, &id));
    let (absent, grantee) = (document(9), Grantee::Public.to_string());
    let nothing = world.change(&ada, &absent, &grantee, Some(Role::Viewer)).await;
    assert!(matches!(nothing, Err(PermissionsError::Conflict(_))));
    world.change(&server, &absent, "ada", Some(Role::Viewer)).await.unwrap();
    assert!(!world.may(&ada, Operation::Write, &absent), "it was made for others");
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_end_what_grows_too_large() {
    let options = AccessOptions {
        documents_per_principal: 2,
        document_bytes: 30,
        ..AccessOptions::default()
    };
    let world = World::new(&options).await;
    let ada = user("ada");
    for n in 1..=2 {
        assert!(world.may(&ada, Operation::Create, &document(n)));
        world.edit(&document(n), &ada, n).await;
        // Asking about a document that is not known yet brings the table up to now.
        assert!(world.may(&ada, Operation::Read, &document(n)));
    }
    assert!(!world.may(&ada, Operation::Create, &document(3)) && !world.may(&ada, Operation::Write, &document(3)));
    assert!(world.may(&user("bob"), Operation::Create, &document(3)));
    for n in 3..=4 {
        assert!(world.may(&ada, Operation::Write, &document(1)));
        world.edit(&document(1), &ada, n).await;
    }
    world
        .change(&ada, &document(1), "bob", Some(Role::Viewer))
        .await
        .unwrap();
    assert!(!world.may(&ada, Operation::Write, &document(1)) && world.may(&ada, Operation::Read, &document(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_for_one_document_and_can_be_taken_back() {
    let world = World::new(&AccessOptions::default()).await;
    let ada = user("ada");
    let id = document(1);
    world.edit(&id, &ada, 1).await;
    let grant = Grant::check(&world.access, &caller(&ada), Operation::Administer, &id).unwrap();
    let link = world.access.link(&grant, Role::Editor, 0, 60).unwrap();
    assert!(!format!("{link:?}").contains(&link.token));
    let mut holder = Identity::anonymous();
    holder.principal = link.principal.clone();
    holder.grants.documents.push((id.clone(), Role::Editor));
    assert!(world.may(&holder, Operation::Write, &id) && !world.may(&holder, Operation::Create, &document(2)));
    world.change(&ada, &id, link.principal.as_str(), None).await.unwrap();
    assert!(!world.may(&holder, Operation::Read, &id));
    for (role, seconds) in [(Role::Owner, 60), (Role::Viewer, 0), (Role::Viewer, u64::MAX)] {
        let refused = world.access.link(&grant, role, 0, seconds);
        assert!(matches!(refused, Err(PermissionsError::Conflict(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_who_revoke_each_other_at_once_leave_one() {
    let world = World::new(&AccessOptions::default()).await;
    let (ada, bob) = (user("ada"), user("bob"));
    for n in 1..=20 {
        let id = document(n);
        world.edit(&id, &ada, n).await;
        world.change(&ada, &id, "bob", Some(Role::Owner)).await.unwrap();
        // Both were allowed to when they asked.
        let wishes = [
            world.wish(&ada, &id, "bob", None),
            world.wish(&bob, &id, "ada", None),
            world.wish(&bob, &id, "eve", Some(Role::Owner)),
        ];
        let [first, second, third] = wishes.map(|wish| world.access.change(wish));
        let (first, second, third) = tokio::join!(first, second, third);
        assert!(first.is_ok(), "{n}: {first:?}");
        for refused in [second, third] {
            assert!(
                matches!(refused, Err(PermissionsError::Conflict(_))),
                "{n}: {refused:?}"
            );
        }
        assert!(world.may(&ada, Operation::Administer, &id) && !world.may(&user("eve"), Operation::Read, &id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_granted_something_at_once_are_not_too_many() {
    let world = World::new(&AccessOptions::default()).await;
    let (ada, id) = (user("ada"), document(1));
    world.edit(&id, &ada, 1).await;
    for n in 1..990 {
        let wish = world.wish(&ada, &id, &format!("user-{n}"), Some(Role::Viewer));
        world.access.change(wish).await.unwrap();
    }
    let wishes: Vec<_> = (990..1030)
        .map(|n| world.wish(&ada, &id, &format!("user-{n}"), Some(Role::Viewer)))
        .collect();
    let mut changes = tokio::task::JoinSet::new();
    for wish in wishes {
        let access = world.access.clone();
        changes.spawn(async move { access.change(wish).await.is_ok() });
    }
    let made = changes.join_all().await.into_iter().filter(|made| *made).count();
    let grant = Grant::check(&world.access, &caller(&ada), Operation::Administer, &id).unwrap();
    assert_eq!((made, world.access.list(&grant).len()), (10, 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nobody_waits_for_any_more_is_made_and_told() {
    let world = World::new(&AccessOptions::default()).await;
    let (ada, bob, id) = (user("ada"), user("bob"), document(1));
    world.edit(&id, &ada, 1).await;
    world.change(&ada, &id, "bob", Some(Role::Editor)).await.unwrap();
    let told = world.ear.0.lock().unwrap().len();
    let mut changing = world.access.change(world.wish(&ada, &id, "bob", None));
    // It is given up as soon as it has begun.
    let begun = std::future::poll_fn(|context| Poll::Ready(changing.as_mut().poll(context))).await;
    drop(changing);
    assert!(begun.is_pending());
    until("it is made", || !world.may(&bob, Operation::Read, &id)).await;
    until("it is told", || world.ear.0.lock().unwrap().len() > told).await;
}

#[tokio::test]
async fn who_asks_first_has_the_others_told() {
    let world = World::new(&AccessOptions::default()).await;
    let (ada, id) = (user("ada"), document(1));
    world.edit(&id, &ada, 1).await;
    assert!(world.may(&ada, Operation::Administer, &id));
    let change = PermissionChange {
        document: id.clone(),
        grantee: "bob".parse().unwrap(),
        role: Some(Role::Viewer),
        nonce: [7; 16],
    };
    let entry = change.draft(&caller(&ada).author()).encode().unwrap();
    world.log.append(vec![entry]).await.unwrap();
    // A document of the same partition that is not known is asked about, so that the table is brought up to now.
    let partition = world.log.partition_of(&id);
    let other = (2..)
        .map(document)
        .find(|other| world.log.partition_of(other) == partition);
    assert!(world.may(&user("bob"), Operation::Read, &other.unwrap()));
    assert!(
        world.may(&user("bob"), Operation::Read, &id),
        "read without another task"
    );
    until("they are told", || world.ear.0.lock().unwrap().contains(&id)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_quarantined_is_closed_until_the_log_is_resumed() {
    let world = World::new(&AccessOptions::default()).await;
    let (ada, bob, id) = (user("ada"), user("bob"), document(1));
    world.edit(&id, &ada, 1).await;
    assert!(world.may(&ada, Operation::Read, &id));
    world.damage(&id);
    world.edit(&id, &ada, 2).await;
    until("it is closed", || !world.may(&ada, Operation::Read, &id)).await;
    let wish = PermissionChange {
        document: id.clone(),
        grantee: "bob".parse().unwrap(),
        role: Some(Role::Viewer),
        nonce: [7; 16],
    };
    let entry = wish.draft(&caller(&ada).author()).encode().unwrap();
    world.log.append(vec![entry]).await.unwrap();
    world.log.resume().await.unwrap();
    until("it is open again", || world.may(&ada, Operation::Write, &id)).await;
    assert!(
        world.may(&bob, Operation::Read, &id),
        "what came while it was closed counts"
    );
    world.change(&ada, &id, "bob", None).await.unwrap();
    assert!(!world.may(&bob, Operation::Read, &id), "it is followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_new_in_a_partition_that_was_quarantined_at_the_start() {
    let world = World::new(&AccessOptions::default()).await;
    let (ada, bob, id) = (user("ada"), user("bob"), document(1));
    for n in 1..=50 {
        world.edit(&id, &ada, n).await;
    }
    world.damage(&id);
    let storage = world.storage.clone();
    drop(world);
    let world = World::over(storage, &AccessOptions::default()).await;
    assert!(!world.may(&ada, Operation::Read, &id) && !world.may(&bob, Operation::Create, &id));
    world.log.resume().await.unwrap();
    until("it is open again", || {
        assert!(!world.may(&bob, Operation::Write, &id), "it is ada's");
        world.may(&ada, Operation::Administer, &id)
    })
    .await;
}
