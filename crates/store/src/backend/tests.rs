//! A backend's file, through its public methods, on real SQLite in a temporary folder.

use std::time::Duration;

use pilvi_model::query::{Filter, Page, Query, Sort};
use pilvi_model::{
    Asker, BackendId, Kind, Object, ObjectId, ObjectType, Properties, RequestId, Result, Timestamp,
    WebhookId,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Author, Backend, Change, DeliveryState, DueDelivery, Mutation, Outcome, PayloadAs,
    StoredWebhook, Written,
};
use crate::{Limits, Store};

mod replays;
mod variants;

struct World {
    store: Store,
    backend: Backend,
    folder: TempDir,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Limits::default()).await.unwrap();
    let id = ObjectId::from_bytes([9; 12]);
    store.create_backend(id).await.unwrap();
    let backend = store.backend(id);
    World {
        store,
        backend,
        folder,
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn origin(millis: u64) -> Author {
    Author {
        asker: Asker::Admin,
        request: RequestId::from_bytes([7; 16]),
        at: at(millis),
    }
}

/// Writes as they mostly are in tests.
impl Backend {
    pub(crate) async fn insert_object(&self, object: Object, author: Author) -> Result<Written> {
        let mutation = Mutation::Create {
            id: object.id,
            properties: object.properties()?,
            object_type: object.object_type,
        };
        self.write(mutation, author).await
    }

    async fn delete_object(
        &self,
        object_type: ObjectType,
        id: ObjectId,
        author: Author,
    ) -> Result<Written> {
        self.write(Mutation::Delete { object_type, id }, author)
            .await
    }
}

fn todos() -> ObjectType {
    ObjectType::custom("todos").unwrap()
}

fn object(number: u8, properties: Value) -> Object {
    let properties = Properties::from_json(properties).unwrap();
    Object::create(
        ObjectId::from_bytes([number; 12]),
        todos(),
        at(0),
        &properties,
    )
}

fn webhook(
    number: u8,
    events: Option<Vec<Change>>,
    types: Option<Vec<ObjectType>>,
) -> StoredWebhook {
    StoredWebhook {
        id: WebhookId::from_bytes([number; 12]),
        url: "http://127.0.0.1:1/".to_owned(),
        events,
        object_types: types,
        sealed_headers: vec![1, 2, 3],
        sealed_signing: None,
        payload_as: PayloadAs::String,
        enabled: true,
        created_at: at(0),
        updated_at: at(0),
    }
}

async fn update(backend: &Backend, object: &Object, properties: Value, millis: u64) -> Object {
    let changes = Properties::from_json(properties).unwrap();
    let written = backend
        .write(
            Mutation::Update {
                object_type: todos(),
                id: object.id,
                changes,
            },
            origin(millis),
        )
        .await
        .unwrap();
    written.object
}

fn outcome(
    delivery: &DueDelivery,
    millis: u64,
    retry_in: Option<u64>,
    error: Option<&str>,
) -> Outcome {
    Outcome {
        delivery: delivery.clone(),
        at: at(millis),
        took: Duration::from_millis(7),
        answer: Some("so it was".to_owned()),
        status: Some(if error.is_some() { 500 } else { 201 }),
        error: error.map(str::to_owned),
        retry_in: retry_in.map(Duration::from_millis),
    }
}

#[tokio::test]
async fn an_object_lives_from_insert_to_delete() {
    let world = world().await;
    let backend = &world.backend;
    let created = backend
        .insert_object(object(1, json!({"title": "A"})), origin(0))
        .await
        .unwrap()
        .object;
    assert_eq!(
        backend
            .find_object(Asker::Admin, todos(), created.id)
            .await
            .unwrap(),
        Some(created.clone())
    );

    let updated = update(backend, &created, json!({"done": true}), 0).await;
    assert!(updated.updated_at > created.updated_at);
    assert_eq!(
        backend
            .find_object(Asker::Admin, todos(), created.id)
            .await
            .unwrap(),
        Some(updated.clone())
    );

    let deleted = backend
        .delete_object(todos(), created.id, origin(5))
        .await
        .unwrap();
    assert_eq!(deleted.object, updated);
    assert_eq!(
        backend
            .find_object(Asker::Admin, todos(), created.id)
            .await
            .unwrap(),
        None
    );
    let again = backend
        .delete_object(todos(), created.id, origin(6))
        .await
        .unwrap_err();
    assert_eq!(again.kind, Kind::NotFound);
}

#[tokio::test]
async fn a_list_is_filtered_sorted_and_cut() {
    let world = world().await;
    for number in 1..=5 {
        world
            .backend
            .insert_object(
                object(number, json!({"n": number, "odd": number % 2 == 1})),
                origin(0),
            )
            .await
            .unwrap();
    }
    let odd = || Filter::parse(r#"{"odd":true}"#).unwrap();
    let down = Sort::from_json(&json!([{"sortBy": "n", "direction": "desc"}])).unwrap();
    let page = Page {
        limit: 2,
        offset: 1,
    };
    let mut query = Query::default();
    (query.filter, query.sort, query.page) = (odd(), down, page);
    let texts = world
        .backend
        .list_objects(Asker::Admin, todos(), &query)
        .await
        .unwrap();
    let numbers: Vec<i64> = texts
        .iter()
        .map(|text| {
            serde_json::from_str::<Value>(text).unwrap()["n"]
                .as_i64()
                .unwrap()
        })
        .collect();
    assert_eq!(numbers, [3, 1]);
    assert_eq!(
        world
            .backend
            .count_objects(Asker::Admin, todos(), odd())
            .await
            .unwrap(),
        3
    );
    let other = ObjectType::custom("Todos").unwrap();
    assert_eq!(
        world
            .backend
            .count_objects(Asker::Admin, other, Filter::default())
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn one_failure_spoils_no_other_write_of_the_same_commit() {
    let world = world().await;
    let good = object(1, json!({}));
    let mut writes = Vec::new();
    for number in 1..=50 {
        let backend = world.backend.clone();
        let origin = origin(0);
        // Every second write repeats an id and must fail alone.
        let object = if number % 2 == 0 {
            good.clone()
        } else {
            object(number, json!({}))
        };
        writes.push(async move { backend.insert_object(object, origin).await });
    }
    let results = futures_util::future::join_all(writes).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 25);
    assert_eq!(
        world
            .backend
            .count_objects(Asker::Admin, todos(), Filter::default())
            .await
            .unwrap(),
        25
    );
}

#[tokio::test]
async fn a_panic_in_an_operation_is_an_error_of_that_operation_alone() {
    let world = world().await;
    let panicking = world
        .backend
        .database
        .write(|_| -> crate::Result<()> { panic!("on purpose") });
    assert_eq!(panicking.await.unwrap_err().kind, Kind::Internal);
    world
        .backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let World {
        store,
        backend,
        folder,
    } = world().await;
    backend
        .insert_webhook(webhook(1, None, None))
        .await
        .unwrap();
    let written = backend
        .insert_object(object(1, json!({"title": "A"})), origin(0))
        .await
        .unwrap();
    assert_eq!(written.webhooks, [WebhookId::from_bytes([1; 12])]);
    assert!(matches!(
        Store::open(folder.path(), Limits::default()).await,
        Err(crate::Error::InUse { .. })
    ));
    let id = backend.id;
    drop((store, backend));

    let store = Store::open(folder.path(), Limits::default()).await.unwrap();
    let backend = store.backend(id);
    assert_eq!(
        backend
            .find_object(Asker::Admin, todos(), written.object.id)
            .await
            .unwrap(),
        Some(written.object)
    );
    assert_eq!(
        backend.webhooks_with_pending_deliveries().await.unwrap(),
        [(id, WebhookId::from_bytes([1; 12]))]
    );
}

#[tokio::test]
async fn a_deleted_backend_leaves_nothing() {
    let world = world().await;
    world
        .backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap();
    world.store.delete_backend(world.backend.id).await.unwrap();
    world.store.delete_backend(world.backend.id).await.unwrap();
    assert_eq!(
        std::fs::read_dir(world.folder.path().join("eds"))
            .unwrap()
            .count(),
        0
    );
    let gone = world
        .backend
        .insert_object(object(2, json!({})), origin(0))
        .await
        .unwrap_err();
    assert_eq!(gone.kind, Kind::Unavailable);
    world.store.create_backend(world.backend.id).await.unwrap();
    assert_eq!(
        world
            .backend
            .count_objects(Asker::Admin, todos(), Filter::default())
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn two_backends_share_nothing() {
    let world = world().await;
    let other_id: BackendId = ObjectId::from_bytes([8; 12]);
    world.store.create_backend(other_id).await.unwrap();
    let other = world.store.backend(other_id);
    let written = world
        .backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap()
        .object;
    assert_eq!(
        other
            .find_object(Asker::Admin, todos(), written.id)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        other
            .count_objects(Asker::Admin, todos(), Filter::default())
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn only_webhooks_that_listen_get_a_delivery() {
    let world = world().await;
    let backend = &world.backend;
    let cats = ObjectType::custom("cats").unwrap();
    for stored in [
        webhook(1, None, None),
        webhook(2, Some(vec![Change::Delete]), None),
        webhook(3, None, Some(vec![cats])),
        webhook(
            4,
            Some(vec![Change::Create, Change::Update]),
            Some(vec![todos()]),
        ),
    ] {
        backend.insert_webhook(stored.clone()).await.unwrap();
        assert_eq!(backend.find_webhook(stored.id).await.unwrap(), Some(stored));
    }
    let written = backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap();
    assert_eq!(
        written.webhooks,
        [1, 4].map(|number| WebhookId::from_bytes([number; 12]))
    );
    let deleted = backend
        .delete_object(todos(), written.object.id, origin(1))
        .await
        .unwrap();
    assert_eq!(
        deleted.webhooks,
        [1, 2].map(|number| WebhookId::from_bytes([number; 12]))
    );

    let due = backend
        .due_deliveries(WebhookId::from_bytes([1; 12]), at(10), 10)
        .await
        .unwrap();
    let events: Vec<Change> = due.iter().map(|delivery| delivery.event).collect();
    assert_eq!(events, [Change::Create, Change::Delete]);
    assert_eq!(due[1].document, deleted.object.text);
    assert_eq!(due[0].id(), format!("{}-1", "01".repeat(12)));
}

#[tokio::test]
async fn a_failed_delivery_holds_back_its_object_and_no_other() {
    let world = world().await;
    let backend = &world.backend;
    let hook = webhook(1, None, None).id;
    backend
        .insert_webhook(webhook(1, None, None))
        .await
        .unwrap();
    let first = backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap()
        .object;
    update(backend, &first, json!({"x": 1}), 1).await;
    backend
        .insert_object(object(2, json!({})), origin(2))
        .await
        .unwrap();

    let due = backend.due_deliveries(hook, at(10), 10).await.unwrap();
    assert_eq!(
        due.iter()
            .map(|delivery| delivery.outbox)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    backend
        .settle_deliveries(vec![
            outcome(&due[0], 10, Some(1000), Some("500")),
            outcome(&due[2], 10, None, None),
        ])
        .await
        .unwrap();
    // A change that comes while the object waits has to wait behind it.
    update(backend, &first, json!({"x": 2}), 20).await;
    assert!(
        backend
            .due_deliveries(hook, at(500), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        backend.next_delivery_at(hook).await.unwrap(),
        Some(at(1010))
    );

    let due = backend.due_deliveries(hook, at(1010), 10).await.unwrap();
    assert_eq!(
        due.iter()
            .map(|delivery| (delivery.outbox, delivery.attempts))
            .collect::<Vec<_>>(),
        [(1, 1), (2, 0), (4, 0)]
    );
    let outcomes = due
        .iter()
        .map(|delivery| outcome(delivery, 1010, None, None))
        .collect();
    backend.settle_deliveries(outcomes).await.unwrap();
    assert_eq!(backend.next_delivery_at(hook).await.unwrap(), None);

    let log = backend
        .list_deliveries(hook, None, Page::default())
        .await
        .unwrap();
    assert_eq!(
        log.iter()
            .map(|delivery| delivery.outbox)
            .collect::<Vec<_>>(),
        [4, 3, 2, 1]
    );
    assert!(
        log.iter()
            .all(|delivery| delivery.state == DeliveryState::Delivered
                && delivery.status == Some(201))
    );
    assert_eq!(log[3].attempts, 2);
}

#[tokio::test]
async fn a_delivery_that_is_given_up_stays_in_the_log_and_lets_the_next_go() {
    let world = world().await;
    let backend = &world.backend;
    let hook = webhook(1, None, None).id;
    backend
        .insert_webhook(webhook(1, None, None))
        .await
        .unwrap();
    let first = backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap()
        .object;
    update(backend, &first, json!({"x": 1}), 1).await;
    let due = backend.due_deliveries(hook, at(10), 1).await.unwrap();
    backend
        .settle_deliveries(vec![outcome(
            &due[0],
            10,
            None,
            Some("the target answered 500"),
        )])
        .await
        .unwrap();
    let next = backend.due_deliveries(hook, at(10), 10).await.unwrap();
    assert_eq!(
        next.iter()
            .map(|delivery| delivery.outbox)
            .collect::<Vec<_>>(),
        [2]
    );
    let log = backend
        .list_deliveries(
            hook,
            None,
            Page {
                limit: 1,
                offset: 1,
            },
        )
        .await
        .unwrap();
    assert_eq!(
        (log[0].state, log[0].status),
        (DeliveryState::Failed, Some(500))
    );
    assert_eq!(log[0].error.as_deref(), Some("the target answered 500"));
}

#[tokio::test]
async fn deleting_a_webhook_deletes_its_deliveries() {
    let world = world().await;
    let backend = &world.backend;
    backend
        .insert_webhook(webhook(1, None, None))
        .await
        .unwrap();
    backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap();
    let id = webhook(1, None, None).id;
    assert!(backend.delete_webhook(id).await.unwrap());
    assert!(!backend.delete_webhook(id).await.unwrap());
    assert!(
        !backend
            .update_webhook(webhook(1, None, None))
            .await
            .unwrap()
    );
    assert!(
        backend
            .list_deliveries(id, None, Page::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_backend_has_a_bounded_number_of_webhooks() {
    let world = world().await;
    for number in 0..50 {
        world
            .backend
            .insert_webhook(webhook(number, None, None))
            .await
            .unwrap();
    }
    let one_more = world
        .backend
        .insert_webhook(webhook(50, None, None))
        .await
        .unwrap_err();
    assert_eq!(one_more.kind, Kind::Conflict);
    assert_eq!(world.backend.list_webhooks().await.unwrap().len(), 50);
}

#[tokio::test]
async fn the_outbox_forgets_what_is_old_and_gives_up_its_deliveries() {
    let world = world().await;
    let backend = &world.backend;
    let hook = webhook(1, None, None).id;
    backend
        .insert_webhook(webhook(1, None, None))
        .await
        .unwrap();
    backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap();
    let four_days = 4 * 24 * 60 * 60 * 1000;
    // Old rows are looked for once in 128 writes.
    for number in 2..=128 {
        backend
            .insert_object(object(number, json!({})), origin(four_days))
            .await
            .unwrap();
    }
    let due = backend
        .due_deliveries(hook, at(four_days), 1000)
        .await
        .unwrap();
    assert_eq!(due.iter().map(|delivery| delivery.outbox).min(), Some(2));
    let oldest = backend
        .list_deliveries(
            hook,
            None,
            Page {
                limit: 1,
                offset: 127,
            },
        )
        .await
        .unwrap()
        .remove(0);
    assert_eq!((oldest.outbox, oldest.state), (1, DeliveryState::Failed));
    assert!(oldest.error.unwrap().starts_with("given up"));
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        read_time_max: Duration::from_millis(20),
        ..Limits::default()
    };
    let store = Store::open(folder.path(), limits).await.unwrap();
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let stopped = store
        .platform
        .read(|connection| Ok(connection.query_row(endless, [], |row| row.get::<_, i64>(0))?));
    let error = stopped.await.unwrap_err();
    assert_eq!(error.kind, Kind::BadRequest);
    assert!(error.message.contains("took too long"), "{error}");
}
