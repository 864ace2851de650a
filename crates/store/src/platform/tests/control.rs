//! Operators, deleted instances and the audit log against real SQLite.

use serde_json::Map;

use super::*;
use crate::platform::{Actor, Log, LogPage, NewEvent, Retention, Revival, SCHEMA};

fn event(account: Option<AccountId>, millis: u64, subject: u64) -> NewEvent {
    NewEvent {
        at: Timestamp::from_millis(millis),
        account,
        actor: Actor::Server,
        event: "a.b",
        subject: subject.to_string(),
        detail: Map::new(),
        request: None,
        peer: None,
    }
}

async fn subjects(store: &Store, log: Log) -> Vec<u64> {
    let page = LogPage {
        limit: 1000,
        ..LogPage::default()
    };
    let events = store.list_events(log, page).await.unwrap();
    events
        .iter()
        .map(|event| event.subject.parse().unwrap())
        .collect()
}

#[tokio::test]
async fn every_account_keeps_its_newest_events() {
    let world = World::new().await;
    let (one, other) = (Some(world.account), Some(AccountId::random()));
    for number in 0..5 {
        for account in [one, other, None] {
            let event = event(account, number, number);
            world.store.insert_event(event, MANY).await.unwrap();
        }
    }
    let retention = Retention {
        oldest: Timestamp::from_millis(1),
        events_max: 3,
    };
    // Three are too old; of the four that each has left, one is too much.
    assert_eq!(world.store.trim_events(retention).await.unwrap(), 6);
    for account in [one, other].into_iter().flatten() {
        let kept = subjects(&world.store, Log::Account(account)).await;
        assert_eq!(kept, [4, 3, 2]);
    }
    assert_eq!(subjects(&world.store, Log::Server).await.len(), 9);
    assert_eq!(world.store.trim_events(retention).await.unwrap(), 0);
}

/// Nobody waits for the housekeeping: an account that is written to all the time stays within its bound.
#[tokio::test]
async fn a_log_is_bounded_while_it_is_written() {
    let world = World::new().await;
    for number in 0..600 {
        let event = event(Some(world.account), number, number);
        world.store.insert_event(event, 10).await.unwrap();
    }
    let kept = subjects(&world.store, Log::Account(world.account)).await;
    assert!(kept.len() < 10 + 256, "{}", kept.len());
    assert_eq!(kept[..2], [599, 598]);
}

/// Otherwise somebody could do what is harmless until what is not is forgotten.
#[tokio::test]
async fn who_fills_a_log_pushes_out_their_own_events_alone() {
    let world = World::new().await;
    let by = |person, number| NewEvent {
        actor: Actor::Person(person),
        ..event(None, number, number)
    };
    let (quiet, loud) = (PersonId::random(), PersonId::random());
    world.store.insert_event(by(quiet, 0), 100).await.unwrap();
    for number in 1..600 {
        world
            .store
            .insert_event(by(loud, number), 100)
            .await
            .unwrap();
    }
    let page = LogPage {
        person: Some(quiet),
        limit: 10,
        ..LogPage::default()
    };
    let kept = world.store.list_events(Log::Server, page).await.unwrap();
    assert_eq!(kept.len(), 1);
    let all = subjects(&world.store, Log::Server).await;
    assert!(all.len() < 100 + 256, "{}", all.len());
    assert_eq!(all[..2], [599, 598]);
}

#[tokio::test]
async fn an_instance_is_hidden_revived_and_retired_in_one_order_only() {
    let world = World::new().await;
    let id = "5417e5485a3d8b418a01adb7";
    let new = world.instance(id, Provider::Mws);
    world
        .store
        .insert_instance(new.clone(), MANY)
        .await
        .unwrap();
    // What is still being made cannot be hidden.
    assert!(
        world
            .store
            .hide_instance(id, now())
            .await
            .unwrap()
            .is_none()
    );
    let token = token(Holder::Instance(id.to_owned()));
    let digest = token.digest;
    assert!(world.store.release_instance(id, token).await.unwrap());
    let holder = async || {
        world
            .store
            .find_token_holder(digest, now())
            .await
            .unwrap()
            .is_some()
    };
    assert!(holder().await);

    let hidden = world.store.hide_instance(id, now()).await.unwrap().unwrap();
    assert_eq!((hidden.instance, hidden.deleted_at), (new.clone(), now()));
    assert!(world.store.find_instance(id).await.unwrap().is_none());
    assert!(!holder().await);
    let change = InstanceChange {
        name: Some("n".to_owned()),
        ..InstanceChange::default()
    };
    assert_eq!(world.store.update_instance(id, change).await.unwrap(), None);
    // A start has nothing to clear away.
    assert_eq!(world.store.list_unfinished_instances().await.unwrap(), []);

    let revived = world.store.revive_instance(id).await.unwrap();
    assert_eq!(revived, Revival::Done(new));
    assert!(holder().await);
    let again = world.store.revive_instance(id).await.unwrap();
    assert_eq!(again, Revival::NotDeleted);
    let retired = world.store.retire_deleted_instance(id, now()).await;
    assert_eq!(retired.unwrap(), None);

    world.store.hide_instance(id, now()).await.unwrap();
    let early = Timestamp::from_millis(now().as_millis() - 1);
    let retired = world.store.retire_deleted_instance(id, early).await;
    assert_eq!(retired.unwrap(), None);
    let retired = world.store.retire_deleted_instance(id, now()).await;
    assert!(retired.unwrap().is_some());
    let gone = world.store.revive_instance(id).await.unwrap();
    assert_eq!(gone, Revival::Gone);
}

/// A data folder of a server that had no operators yet.
#[test]
fn the_first_person_of_an_older_server_becomes_its_operator() {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    let before = SCHEMA
        .steps
        .iter()
        .position(|step| step.contains("ADD COLUMN operator"))
        .unwrap();
    for step in &SCHEMA.steps[..before] {
        connection.execute_batch(step).unwrap();
    }
    connection
        .execute_batch(
            "INSERT INTO persons (id, email, name, created_at) VALUES
                 ('second', 'b', 'B', 2), ('first', 'a', 'A', 1)",
        )
        .unwrap();
    connection.execute_batch(SCHEMA.steps[before]).unwrap();
    let operators: String = connection
        .query_row(
            "SELECT group_concat(id) FROM persons WHERE operator",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(operators, "first");
}
