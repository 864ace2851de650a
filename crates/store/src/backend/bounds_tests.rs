//! What one caller can make a backend hold, and a reply carry.

use pilvi_model::access::Subjects;
use pilvi_model::{
    AccessChange, AccessList, Asker, Kind, Object, ObjectId, ObjectType, Properties, RequestId,
    Result, Subject, Timestamp,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::objects::OBJECT_BYTES_MAX;
use super::{Author, Backend, Mutation, PayloadAs, SchemaChange, StoredWebhook, Written};
use crate::{Limits, Store};

async fn backend() -> (Backend, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Limits::default()).await.unwrap();
    let id = ObjectId::from_bytes([9; 12]);
    store.create_backend(id).await.unwrap();
    (store.backend(id), folder)
}

fn id(number: u32) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn by(asker: Asker) -> Author {
    Author {
        asker,
        request: RequestId::from_bytes([7; 16]),
        at: Timestamp::from_millis(1),
    }
}

fn create(object_type: &str, number: u32) -> Mutation {
    Mutation::Create {
        id: id(number),
        object_type: ObjectType::custom(object_type).unwrap(),
        properties: Properties::default(),
    }
}

fn set(name: &str, bytes: usize) -> Mutation {
    let value = Value::from("x".repeat(bytes));
    let changes = Map::from_iter([(name.to_owned(), value)]);
    Mutation::Update {
        object_type: ObjectType::custom("notes").unwrap(),
        id: id(1),
        changes: Properties::from_json(Value::Object(changes)).unwrap(),
    }
}

async fn write(backend: &Backend, mutation: Mutation) -> Result<Written> {
    backend.write(mutation, by(Asker::Anonymous)).await
}

#[tokio::test]
async fn an_object_does_not_grow_without_end() {
    let (backend, _folder) = backend().await;
    write(&backend, create("notes", 1)).await.unwrap();
    let half = OBJECT_BYTES_MAX / 2;
    write(&backend, set("a", half)).await.unwrap();
    let refused = write(&backend, set("b", half)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::TooLarge);
    write(&backend, set("a", 10)).await.unwrap();
    let grown: Object = write(&backend, set("b", half)).await.unwrap().object;
    assert!(grown.text.len() <= OBJECT_BYTES_MAX);
}

#[tokio::test]
async fn a_batch_does_not_answer_with_more_than_a_list() {
    let (backend, _folder) = backend().await;
    write(&backend, create("notes", 1)).await.unwrap();
    write(&backend, set("a", OBJECT_BYTES_MAX - 1000))
        .await
        .unwrap();
    let touch = |times: usize| vec![set("b", 10); times];
    let author = || by(Asker::Anonymous);
    let refused = backend.write_all(touch(9), author()).await.unwrap_err();
    assert_eq!(refused.kind, Kind::TooLarge);
    let found = backend.find_object(Asker::Admin, ObjectType::custom("notes").unwrap(), id(1));
    let found = found.await.unwrap().unwrap().to_json().unwrap();
    assert!(found.get("b").is_none(), "all or none");
    assert_eq!(
        backend.write_all(touch(7), author()).await.unwrap().len(),
        7
    );
}

async fn count(backend: &Backend, sql: &'static str) -> i64 {
    let count = backend
        .database
        .read(move |connection| Ok(connection.query_row(sql, [], |row| row.get(0))?));
    count.await.unwrap()
}

#[tokio::test]
async fn due_deliveries_of_large_objects_are_taken_a_few_at_a_time() {
    let (backend, _folder) = backend().await;
    let webhook = StoredWebhook {
        id: id(1),
        url: "http://127.0.0.1:1/".to_owned(),
        events: None,
        object_types: None,
        sealed_headers: Vec::new(),
        sealed_signing: None,
        payload_as: PayloadAs::Object,
        enabled: true,
        created_at: Timestamp::from_millis(1),
        updated_at: Timestamp::from_millis(1),
    };
    backend.insert_webhook(webhook).await.unwrap();
    write(&backend, create("notes", 1)).await.unwrap();
    let large = OBJECT_BYTES_MAX - 1000;
    for _ in 0..4 {
        write(&backend, set("a", large)).await.unwrap();
    }
    let due = backend.due_deliveries(id(1), Timestamp::from_millis(10), 64);
    let due = due.await.unwrap();
    let bytes: usize = due.iter().map(|due| due.document.len()).sum();
    assert!(bytes <= 3 * OBJECT_BYTES_MAX, "{bytes}");
    assert!(due.len() > 1 && due.is_sorted_by_key(|due| due.outbox));
}

#[tokio::test]
async fn access_lists_that_nobody_has_any_more_go() {
    let (backend, _folder) = backend().await;
    let owner = Asker::User {
        id: id(7),
        groups: Vec::new(),
    };
    let notes = || ObjectType::custom("notes").unwrap();
    for number in [1, 2] {
        backend
            .write(create("notes", number), by(owner.clone()))
            .await
            .unwrap();
    }
    let share = |object: u32, with: u32| Mutation::Access {
        object_type: notes(),
        id: id(object),
        change: AccessChange::Replace(AccessList {
            read: Subjects::of([Subject::user(id(with))]),
            admin: Subjects::of([Subject::user(id(7))]),
            ..AccessList::default()
        }),
    };
    // One of them leaves nothing but its last change, which somebody may still have to be told.
    let delete = Mutation::Delete {
        object_type: notes(),
        id: id(2),
    };
    for mutation in [share(2, 5000), delete] {
        backend.write(mutation, by(owner.clone())).await.unwrap();
    }
    for round in 0..20 {
        let shares = (0..100).map(|number| share(1, 1000 + round * 100 + number));
        let written = backend.write_all(shares.collect(), by(owner.clone()));
        written.await.unwrap();
        // As they go when their time is over: whoever could read the object before stands with each.
        let forget = backend.database.write(|connection| {
            Ok(connection.execute("DELETE FROM outbox WHERE event = 'access'", [])?)
        });
        assert_eq!(forget.await.unwrap(), if round == 0 { 101 } else { 100 });
    }
    for table in [
        "SELECT count(*) FROM access_lists",
        "SELECT count(*) FROM audiences",
        "SELECT count(*) FROM audience_subjects",
    ] {
        let rows = count(&backend, table).await;
        assert!((2..1000).contains(&rows), "{table}: {rows}");
    }
    let lost = "SELECT count(*) FROM outbox WHERE readers NOT IN (SELECT id FROM audiences)";
    assert_eq!(count(&backend, lost).await, 0);
    let lost = "SELECT count(*) FROM audiences, json_each(subjects) WHERE NOT EXISTS \
                (SELECT 1 FROM audience_subjects WHERE subject = value AND audience = audiences.id)";
    assert_eq!(count(&backend, lost).await, 0);
    let reader = |number| Asker::User {
        id: id(number),
        groups: Vec::new(),
    };
    for (number, sees) in [(2999, true), (2998, false)] {
        let found = backend.find_object(reader(number), notes(), id(1)).await;
        assert_eq!(found.unwrap().is_some(), sees, "{number}");
    }
}

#[tokio::test]
async fn what_an_object_inherits_from_does_not_give_it_readers_without_end() {
    let (backend, _folder) = backend().await;
    let next = json!({"name": "next", "type": "ref", "onCreate": {"accessControlList": "extend"}});
    let schema = Map::from_iter([("properties".to_owned(), json!([next]))]);
    let admin = || by(Asker::Admin);
    let described = backend.describe_collection(
        "objects.notes".to_owned(),
        schema,
        SchemaChange::Merge,
        admin(),
    );
    described.await.unwrap();
    let notes = || ObjectType::custom("notes").unwrap();
    let read = |from: u32| AccessList {
        read: Subjects::of((from..from + 1000).map(|number| Subject::user(id(number)))),
        ..AccessList::default()
    };
    for number in 1..=11 {
        let share = Mutation::Access {
            object_type: notes(),
            id: id(number),
            change: AccessChange::Replace(read(number * 1000)),
        };
        let both = vec![create("notes", number), share];
        backend.write_all(both, admin()).await.unwrap();
    }
    let all = |to: Vec<u32>| {
        let references = to
            .into_iter()
            .map(|number| json!({"id": id(number).to_string(), "objectType": "objects.notes"}));
        let next = Map::from_iter([("next".to_owned(), references.collect())]);
        Properties::from_json(Value::Object(next)).unwrap()
    };
    let refer = |number: u32, to: std::ops::RangeInclusive<u32>| Mutation::Create {
        id: id(number),
        object_type: notes(),
        properties: all(to.collect()),
    };
    // New objects of an open backend are for everybody, so their own lists have to go first.
    let closed = json!({"read": [], "update": [], "delete": [], "admin": []});
    let template = Map::from_iter([("accessControlListTemplate".to_owned(), closed)]);
    let described = backend.describe_collection(
        "objects.notes".to_owned(),
        template,
        SchemaChange::Merge,
        admin(),
    );
    described.await.unwrap();
    backend.write(refer(20, 1..=10), admin()).await.unwrap();
    let refused = backend.write(refer(21, 1..=11), admin()).await;
    assert_eq!(refused.unwrap_err().kind, Kind::Conflict);
    // Nor by a detour.
    backend.write(refer(22, 11..=11), admin()).await.unwrap();
    let detour = Mutation::Update {
        object_type: notes(),
        id: id(22),
        changes: all(vec![11, 20]),
    };
    let refused = backend.write(detour, admin()).await;
    assert_eq!(refused.unwrap_err().kind, Kind::Conflict);
    // Taking away stays possible.
    let withdraw = Mutation::Access {
        object_type: notes(),
        id: id(1),
        change: AccessChange::Withdraw(read(1000)),
    };
    backend.write(withdraw, admin()).await.unwrap();
}

#[tokio::test]
async fn types_that_strangers_use_leave_room_for_those_that_are_described() {
    let (backend, _folder) = backend().await;
    for round in 0..11_u32 {
        let types =
            (0..100).map(|number| create(&format!("a{round}x{number}"), round * 100 + number));
        let written = backend.write_all(types.collect(), by(Asker::Anonymous));
        written.await.unwrap();
    }
    let schema = json!({"settings": {"websocket": true}});
    let Value::Object(schema) = schema else {
        unreachable!("it is an object");
    };
    let name = "objects.zebras".to_owned();
    let described =
        backend.describe_collection(name, schema, SchemaChange::Merge, by(Asker::Admin));
    described.await.unwrap();
    let listed = backend.list_collections().await.unwrap();
    assert!(
        listed
            .iter()
            .any(|known| known.object_type.as_str() == "objects.zebras"),
        "{} others",
        listed.len()
    );
    assert!(listed.is_sorted_by_key(|known| known.object_type.as_str()));
}
