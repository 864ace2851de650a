//! What schemas say beyond rights, on a real file: validators, unique values, what goes with a deleted object,
//! properties that are learned, and types that come and go.

use std::collections::BTreeSet;

use pilvi_model::query::Filter;
use pilvi_model::{
    Asker, Error, Kind, ObjectId, ObjectType, Properties, RequestId, Result, Timestamp,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Author, Backend, Mutation, NewCollection, SchemaChange, Written, facts};
use crate::{Limits, Store};

struct World {
    backend: Backend,
    _folder: TempDir,
}

fn author(millis: u64) -> Author {
    Author {
        asker: Asker::Admin,
        request: RequestId::from_bytes([7; 16]),
        at: Timestamp::from_millis(1_000_000 + millis),
    }
}

fn kind(name: &str) -> ObjectType {
    ObjectType::custom(name).unwrap()
}

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else {
        unreachable!("tests write objects");
    };
    map
}

fn reference(number: u8, name: &str) -> Value {
    json!({"id": id(number).to_string(), "objectType": format!("objects.{name}")})
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Limits::default()).await.unwrap();
        store.create_backend(id(99)).await.unwrap();
        Self {
            backend: store.backend(id(99)),
            _folder: folder,
        }
    }

    async fn describe(&self, name: &str, schema: Value) -> Result<()> {
        let name = format!("objects.{name}");
        let schema = object(schema);
        let merge = SchemaChange::Merge;
        let described = self
            .backend
            .describe_collection(name, schema, merge, author(0));
        described.await.map(drop)
    }

    async fn create(&self, number: u8, name: &str, body: Value) -> Result<Written> {
        let create = Mutation::Create {
            id: id(number),
            object_type: kind(name),
            properties: Properties::from_json(body).unwrap(),
        };
        self.backend.write(create, author(1)).await
    }

    async fn update(&self, number: u8, name: &str, body: Value) -> Result<Written> {
        self.update_as(Asker::Admin, number, name, body).await
    }

    async fn update_as(
        &self,
        asker: Asker,
        number: u8,
        name: &str,
        body: Value,
    ) -> Result<Written> {
        let update = Mutation::Update {
            id: id(number),
            object_type: kind(name),
            changes: Properties::from_json(body).unwrap(),
        };
        let author = Author { asker, ..author(2) };
        self.backend.write(update, author).await
    }

    async fn delete(&self, number: u8, name: &str) -> Result<Written> {
        self.delete_as(Asker::Admin, number, name).await
    }

    async fn delete_as(&self, asker: Asker, number: u8, name: &str) -> Result<Written> {
        let delete = Mutation::Delete {
            id: id(number),
            object_type: kind(name),
        };
        let author = Author { asker, ..author(3) };
        self.backend.write(delete, author).await
    }

    async fn find(&self, number: u8, name: &str) -> Option<Value> {
        let found = self
            .backend
            .find_object(Asker::Admin, kind(name), id(number));
        found.await.unwrap().map(|object| object.to_json().unwrap())
    }

    async fn count(&self, name: &str) -> u64 {
        let all = Filter::default();
        let count = self.backend.count_objects(Asker::Admin, kind(name), all);
        count.await.unwrap()
    }

    /// Rows that are kept beside the documents.
    async fn rows(&self, table: &'static str) -> u64 {
        let count = move |connection: &rusqlite::Connection| {
            let sql = format!("SELECT count(*) FROM {table}");
            Ok(connection.query_row(&sql, [], |row| row.get(0))?)
        };
        self.backend.database.read(count).await.unwrap()
    }

    /// Event, type and number of the changes after the first `skipped`.
    async fn events(&self, skipped: usize) -> Vec<(String, String, String)> {
        let read = |connection: &rusqlite::Connection| {
            let sql = "SELECT event, type, object FROM outbox WHERE event IN ('create', 'update', 'delete') \
                       ORDER BY seq";
            let mut statement = connection.prepare(sql)?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        };
        let all = self.backend.database.read(read).await.unwrap();
        all.into_iter().skip(skipped).collect()
    }
}

fn faults(error: &Error) -> Vec<(&str, &str)> {
    let faults = error.fields.iter();
    faults
        .map(|fault| (fault.property.as_str(), fault.message.as_str()))
        .collect()
}

fn title_required() -> Value {
    json!({"validators": [{"name": "title.required", "property": "title", "type": "required",
                           "options": {"message": "can't be blank"}}]})
}

fn email_unique() -> Value {
    json!({"validators": [{"name": "email.unique", "property": "email", "type": "unique"}]})
}

fn card(dependency: &str) -> Value {
    json!({"properties": [{"name": "board", "type": "ref", "objectType": "objects.boards",
                           "target": {"onDelete": {"dependency": dependency}}}]})
}

#[tokio::test]
async fn whatever_writes_is_held_to_the_validators() {
    let world = World::new().await;
    world
        .create(1, "todos", json!({"done": false}))
        .await
        .unwrap();
    world.describe("todos", title_required()).await.unwrap();

    let refused = world.create(2, "todos", json!({})).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Invalid);
    assert_eq!(faults(&refused), [("title", "can't be blank")]);
    world
        .create(2, "todos", json!({"title": "a"}))
        .await
        .unwrap();
    let cleared = world.update(2, "todos", json!({"title": null})).await;
    assert_eq!(faults(&cleared.unwrap_err()), [("title", "can't be blank")]);
    // What was there before the rule can still be changed elsewhere.
    world
        .update(1, "todos", json!({"done": true}))
        .await
        .unwrap();

    let unset = Mutation::Atomic {
        object_type: kind("todos"),
        id: id(2),
        update: pilvi_model::update::Update::from_json(
            &json!({"$unset": {"title": 1}}),
            &kind("todos"),
        )
        .unwrap(),
    };
    let refused = world.backend.write(unset, author(3)).await.unwrap_err();
    assert_eq!(faults(&refused), [("title", "can't be blank")]);
    let create = |number: u8, body: Value| Mutation::Create {
        id: id(number),
        object_type: kind("todos"),
        properties: Properties::from_json(body).unwrap(),
    };
    let batch = vec![create(3, json!({"title": "b"})), create(4, json!({}))];
    let refused = world.backend.write_all(batch, author(3)).await.unwrap_err();
    assert_eq!(refused.fields[0].property, "title");
    assert_eq!(
        world.count("todos").await,
        2,
        "a batch is written whole or not at all"
    );
}

#[tokio::test]
async fn a_value_that_must_be_unique_is_one_objects_at_a_time() {
    let world = World::new().await;
    world.describe("people", email_unique()).await.unwrap();
    world
        .create(1, "people", json!({"email": "a@b.c"}))
        .await
        .unwrap();
    let refused = world
        .create(2, "people", json!({"email": "a@b.c"}))
        .await
        .unwrap_err();
    assert_eq!(faults(&refused), [("email", "has already been taken")]);
    // Of another type, missing, and the object itself.
    world
        .create(2, "others", json!({"email": "a@b.c"}))
        .await
        .unwrap();
    for number in 3..5 {
        world.create(number, "people", json!({})).await.unwrap();
    }
    world
        .update(1, "people", json!({"email": "a@b.c", "name": "A"}))
        .await
        .unwrap();
    assert!(
        world
            .update(3, "people", json!({"email": "a@b.c"}))
            .await
            .is_err()
    );
    // Who gives it up lets others have it.
    world
        .update(1, "people", json!({"email": "d@e.f"}))
        .await
        .unwrap();
    world
        .update(3, "people", json!({"email": "a@b.c"}))
        .await
        .unwrap();
    world.delete(3, "people").await.unwrap();
    world
        .create(5, "people", json!({"email": "a@b.c"}))
        .await
        .unwrap();
    assert_eq!(world.rows("uniques").await, 2);
}

#[tokio::test]
async fn a_rule_that_comes_later_finds_what_is_there() {
    let world = World::new().await;
    for (number, email) in [(1, json!("a")), (2, json!("b")), (3, Value::Null)] {
        world
            .create(number, "people", json!({"email": email}))
            .await
            .unwrap();
    }
    world
        .create(4, "people", json!({"email": "b"}))
        .await
        .unwrap();
    let refused = world.describe("people", email_unique()).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    assert!(refused.message.contains(&id(4).to_string()), "{refused}");
    assert!(refused.message.contains("`email`"), "{refused}");
    world.delete(4, "people").await.unwrap();
    world.describe("people", email_unique()).await.unwrap();
    assert!(
        world
            .create(5, "people", json!({"email": "b"}))
            .await
            .is_err()
    );
    assert_eq!(world.rows("uniques").await, 2);
    // A rule that goes leaves nothing behind.
    let replace = world.backend.describe_collection(
        "objects.people".into(),
        object(json!({"validators": []})),
        SchemaChange::Replace,
        author(4),
    );
    replace.await.unwrap();
    assert_eq!(world.rows("uniques").await, 0);
    world
        .create(5, "people", json!({"email": "b"}))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_depends_on_an_object_goes_with_it_down_to_the_last() {
    let world = World::new().await;
    world.describe("cards", card("deleteObject")).await.unwrap();
    let note = json!({"properties": [{"name": "card", "type": "ref",
                      "target": {"onDelete": {"dependency": "deleteObject"}}}]});
    world.describe("notes", note).await.unwrap();
    for board in [1, 2] {
        world.create(board, "boards", json!({})).await.unwrap();
    }
    world
        .create(3, "cards", json!({"board": reference(1, "boards")}))
        .await
        .unwrap();
    world
        .create(4, "cards", json!({"board": reference(2, "boards")}))
        .await
        .unwrap();
    world.create(5, "cards", json!({})).await.unwrap();
    world
        .create(6, "notes", json!({"card": reference(3, "cards")}))
        .await
        .unwrap();
    // A note of a note, and a circle.
    world
        .create(7, "notes", json!({"card": reference(6, "notes")}))
        .await
        .unwrap();
    world
        .update(6, "notes", json!({"card": reference(3, "cards")}))
        .await
        .unwrap();
    let written = world.events(0).await.len();

    world.delete(1, "boards").await.unwrap();
    assert_eq!(world.find(3, "cards").await, None);
    assert_eq!(world.count("cards").await, 2);
    assert_eq!(world.count("notes").await, 0);
    let events = world.events(written).await;
    let deleted: Vec<(&str, String)> = events
        .iter()
        .map(|(event, object_type, object)| {
            assert_eq!(event, "delete");
            (object_type.as_str(), object.clone())
        })
        .collect();
    let expected = [
        ("objects.notes", 7),
        ("objects.notes", 6),
        ("objects.cards", 3),
        ("objects.boards", 1),
    ];
    assert_eq!(
        deleted,
        expected.map(|(name, number)| (name, id(number).to_string()))
    );
    assert_eq!(
        world.rows("dependents").await,
        1,
        "the card of the other board"
    );
}

#[tokio::test]
async fn circles_of_dependents_end() {
    let world = World::new().await;
    let next = json!({"properties": [{"name": "next", "type": "ref",
                      "target": {"onDelete": {"dependency": "deleteObject"}}}]});
    world.describe("links", next).await.unwrap();
    for number in 1..=3 {
        world
            .create(
                number,
                "links",
                json!({"next": reference(number % 3 + 1, "links")}),
            )
            .await
            .unwrap();
    }
    world.delete(2, "links").await.unwrap();
    assert_eq!(world.count("links").await, 0);
    assert_eq!(world.rows("dependents").await, 0);
}

#[tokio::test]
async fn references_are_cleared_or_hold_what_they_refer_to() {
    let world = World::new().await;
    let both = json!({"properties": [
        {"name": "board", "type": "ref", "objectType": "objects.boards",
         "target": {"onDelete": {"dependency": "clear"}}},
        {"name": "boards", "type": "array", "target": {"onDelete": {"dependency": "clear"}}}]});
    world.describe("cards", both).await.unwrap();
    world.describe("locks", card("restrict")).await.unwrap();
    for board in [1, 2] {
        world.create(board, "boards", json!({})).await.unwrap();
    }
    let boards = json!([reference(1, "boards"), reference(2, "boards")]);
    let body = json!({"title": "x", "board": reference(1, "boards"), "boards": boards});
    let before = world
        .create(3, "cards", body)
        .await
        .unwrap()
        .object
        .to_json()
        .unwrap();
    world
        .create(4, "locks", json!({"board": reference(1, "boards")}))
        .await
        .unwrap();

    let refused = world.delete(1, "boards").await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    assert!(
        refused.message.contains("`board`") && refused.message.contains("objects.locks"),
        "{refused}"
    );
    assert_eq!(
        world.find(3, "cards").await.unwrap(),
        before,
        "nothing is half done"
    );

    world.delete(4, "locks").await.unwrap();
    world.delete(1, "boards").await.unwrap();
    let card = world.find(3, "cards").await.unwrap();
    assert_eq!(card["board"], Value::Null);
    assert_eq!(card["boards"], json!([reference(2, "boards")]));
    assert_eq!(card["title"], "x");
    assert!(card["updatedAt"].as_str() > before["updatedAt"].as_str());
    world.delete(2, "boards").await.unwrap();
    assert_eq!(world.find(3, "cards").await.unwrap()["boards"], json!([]));
    assert_eq!(world.rows("dependents").await, 0);
}

#[tokio::test]
async fn the_schema_decides_what_goes_whatever_the_author_may() {
    let world = World::new().await;
    let mut closed = card("deleteObject");
    closed["accessControlListTemplate"] = json!({});
    world.describe("cards", closed).await.unwrap();
    world.create(1, "boards", json!({})).await.unwrap();
    world
        .create(2, "cards", json!({"board": reference(1, "boards")}))
        .await
        .unwrap();
    assert!(world.delete_as(Asker::Anonymous, 2, "cards").await.is_err());
    world
        .delete_as(Asker::Anonymous, 1, "boards")
        .await
        .unwrap();
    assert_eq!(world.count("cards").await, 0);
}

#[tokio::test]
async fn a_reference_binds_from_when_the_schema_says_so() {
    let world = World::new().await;
    for board in [1, 2] {
        world.create(board, "boards", json!({})).await.unwrap();
    }
    world
        .create(3, "cards", json!({"board": reference(1, "boards")}))
        .await
        .unwrap();
    world
        .create(4, "cards", json!({"board": reference(1, "boards")}))
        .await
        .unwrap();
    world.describe("cards", card("deleteObject")).await.unwrap();
    world
        .update(4, "cards", json!({"board": reference(2, "boards")}))
        .await
        .unwrap();
    world.delete(1, "boards").await.unwrap();
    assert_eq!(world.find(3, "cards").await, None);
    assert!(world.find(4, "cards").await.is_some());
}

#[tokio::test]
async fn a_required_reference_cannot_be_one_that_is_cleared() {
    let world = World::new().await;
    let mut schema = card("clear");
    schema["validators"] =
        json!([{"name": "board.required", "property": "board", "type": "required"}]);
    let refused = world.describe("cards", schema).await.unwrap_err();
    assert_eq!(refused.fields[0].property, "properties");
}

#[tokio::test]
async fn what_is_used_is_learned_once_and_does_not_describe_the_type() {
    let world = World::new().await;
    let body = json!({"title": "a", "count": 1, "later": null});
    world.create(1, "things", body).await.unwrap();
    world
        .create(2, "things", json!({"title": 5, "later": true}))
        .await
        .unwrap();
    world
        .update(1, "things", json!({"added": [1]}))
        .await
        .unwrap();
    let push = Mutation::Atomic {
        object_type: kind("things"),
        id: id(1),
        update: pilvi_model::update::Update::from_json(
            &json!({"$inc": {"hits": 1}}),
            &kind("things"),
        )
        .unwrap(),
    };
    world.backend.write(push, author(3)).await.unwrap();
    let learned = |found: &super::Collection| -> Vec<(String, String)> {
        let text = |property: &Value, name: &str| property[name].as_str().unwrap().to_owned();
        found
            .inferred
            .iter()
            .map(|property| (text(property, "name"), text(property, "type")))
            .collect()
    };
    let find = || world.backend.find_collection("objects.things".into());
    let expected = [
        ("title", "string"),
        ("count", "number"),
        ("later", "boolean"),
        ("added", "array"),
        ("hits", "number"),
    ];
    let expected = expected.map(|(name, kind)| (name.to_owned(), kind.to_owned()));
    assert_eq!(learned(&find().await.unwrap().unwrap()), expected);
    let described = |connection: &rusqlite::Connection| {
        let sql = "SELECT doc <> '{}' FROM collections WHERE type = 'objects.things'";
        Ok(connection.query_row(sql, [], |row| row.get::<_, bool>(0))?)
    };
    assert!(!world.backend.database.read(described).await.unwrap());

    let title = json!({"properties": [{"name": "title", "type": "string", "indexed": true}]});
    world.describe("things", title).await.unwrap();
    assert_eq!(learned(&find().await.unwrap().unwrap()), expected[1..]);
    assert!(world.backend.database.read(described).await.unwrap());
}

#[tokio::test]
async fn names_without_end_are_not_learned() {
    let world = World::new().await;
    for number in 0..3 {
        let many = (0..150).map(|place| (format!("p{number}-{place}"), json!(1)));
        world
            .create(number, "things", many.collect())
            .await
            .unwrap();
    }
    world
        .create(9, "things", json!({"x".repeat(300): 1}))
        .await
        .unwrap();
    let found = world.backend.find_collection("objects.things".into()).await;
    assert_eq!(found.unwrap().unwrap().inferred.len(), 200);
}

#[tokio::test]
async fn a_type_goes_alone_or_with_its_objects() {
    let world = World::new().await;
    world.describe("cards", card("deleteObject")).await.unwrap();
    world.create(1, "boards", json!({})).await.unwrap();
    world
        .create(2, "cards", json!({"board": reference(1, "boards")}))
        .await
        .unwrap();
    let remove = |name: &str, objects: bool| {
        world
            .backend
            .remove_collection(format!("objects.{name}"), objects, author(5))
    };
    let refused = remove("cards", false).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    assert!(refused.message.contains("?objects=true"), "{refused}");
    assert_eq!(world.count("cards").await, 1);

    let removed = remove("boards", true).await.unwrap();
    assert_eq!(
        (removed.objects, removed.object_type.as_str()),
        (1, "objects.boards")
    );
    assert_eq!(
        world.count("cards").await,
        0,
        "the card went with its board"
    );
    remove("cards", false).await.unwrap();
    assert_eq!(
        remove("cards", false).await.unwrap_err().kind,
        Kind::NotFound
    );
    let built_in = world
        .backend
        .remove_collection("users".into(), true, author(5))
        .await;
    assert!(built_in.is_err());
    // A new one of the name begins anew.
    world.create(1, "boards", json!({})).await.unwrap();
    world
        .create(2, "cards", json!({"board": reference(1, "boards")}))
        .await
        .unwrap();
    world.delete(1, "boards").await.unwrap();
    assert_eq!(world.count("cards").await, 1);
}

#[tokio::test]
async fn a_type_with_many_objects_goes_with_all_of_them() {
    let world = World::new().await;
    for part in 0..13_u8 {
        let creates = (0..100_u8).map(|number| {
            let mut bytes = [number; 12];
            bytes[0] = part;
            Mutation::Create {
                id: ObjectId::from_bytes(bytes),
                object_type: kind("things"),
                properties: Properties::from_json(json!({"n": number})).unwrap(),
            }
        });
        world
            .backend
            .write_all(creates.collect(), author(1))
            .await
            .unwrap();
    }
    let removed = world
        .backend
        .remove_collection("objects.things".into(), true, author(5));
    assert_eq!(removed.await.unwrap().objects, 1300);
    assert_eq!(world.count("things").await, 0);
}

#[tokio::test]
async fn many_types_come_together_with_their_ids_or_not_at_all() {
    let world = World::new().await;
    world
        .describe(
            "cards",
            json!({"properties": [{"name": "old", "type": "string"}]}),
        )
        .await
        .unwrap();
    let new = |name: &str, number: u8, schema: Value| NewCollection {
        object_type: kind(name),
        id: Some(id(number)),
        created_at: Some(Timestamp::from_millis(500)),
        schema: object(schema),
    };
    let types = vec![
        new("boards", 1, title_required()),
        new("cards", 2, card("deleteObject")),
        // The id is taken.
        new("third", 1, json!({})),
    ];
    let imported = world
        .backend
        .import_collections(types, author(5))
        .await
        .unwrap();
    assert_eq!(imported[0].id, id(1).to_string());
    assert_eq!(imported[0].created_at, Timestamp::from_millis(500));
    assert_ne!(
        imported[1].id,
        id(2).to_string(),
        "what is there keeps its id"
    );
    assert_eq!(
        imported[1].schema["properties"].as_array().unwrap().len(),
        1,
        "what is named is replaced"
    );
    let ids: BTreeSet<&str> = imported
        .iter()
        .map(|collection| collection.id.as_str())
        .collect();
    assert_eq!(ids.len(), 3);
    assert!(world.create(1, "boards", json!({})).await.is_err());

    let bad = json!({"properties": (0..600).map(|n| json!({"name": format!("p{n}"), "type": "string"}))
        .collect::<Vec<_>>()});
    let types = vec![new("fine", 5, json!({})), new("bad", 6, bad)];
    assert!(
        world
            .backend
            .import_collections(types, author(6))
            .await
            .is_err()
    );
    assert!(
        world
            .backend
            .find_collection("objects.fine".into())
            .await
            .unwrap()
            .is_none()
    );
}

/// What is remembered of schemas must never outlive them, in whichever order they change and are taken back.
#[tokio::test]
async fn what_is_known_of_a_schema_ends_with_it() {
    let world = World::new().await;
    let stamp = || world.backend.database.read(facts::stamp);
    let first = stamp().await.unwrap();
    world.create(1, "todos", json!({})).await.unwrap();
    world.create(2, "todos", json!({})).await.unwrap();
    world.describe("todos", title_required()).await.unwrap();
    let second = stamp().await.unwrap();
    assert_ne!(first, second);
    assert!(world.create(3, "todos", json!({})).await.is_err());
    // A change that is taken back, with the facts read in between.
    let taken_back = world
        .backend
        .database
        .write(|connection| {
            let sql = "UPDATE collections SET doc = '{}' WHERE type = 'objects.todos'";
            connection.execute(sql, [])?;
            let (_, facts) = facts::facts(connection, &kind("todos"))?;
            assert!(facts.validators.is_empty());
            Err::<(), _>(Error::conflict("no").into())
        })
        .await;
    assert!(taken_back.is_err());
    assert_eq!(stamp().await.unwrap(), second);
    assert!(world.create(3, "todos", json!({})).await.is_err());
    // A copy of the file goes its own way.
    let gone = world
        .backend
        .remove_collection("objects.todos".into(), true, author(4));
    gone.await.unwrap();
    world.create(3, "todos", json!({})).await.unwrap();
}
