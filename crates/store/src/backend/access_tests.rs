//! Who may do what, through the public methods of a backend.

use pilvi_model::access::Subjects;
use pilvi_model::query::{Filter, Query};
use pilvi_model::{
    AccessChange, AccessList, Asker, Kind, Object, ObjectId, ObjectType, Permission, Properties,
    RequestId, Result, Subject, Timestamp,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Author, Backend, Mutation, Once, OnceKey, PayloadAs, SchemaChange, StoredWebhook, Written,
};
use crate::{Limits, Store};

struct World {
    backend: Backend,
    store: Store,
    folder: TempDir,
}

async fn world(private: bool) -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Limits::default()).await.unwrap();
    let id = ObjectId::from_bytes([9; 12]);
    match private {
        true => store.create_private_backend(id, at(0)).await.unwrap(),
        false => store.create_backend(id).await.unwrap(),
    }
    World {
        backend: store.backend(id),
        store,
        folder,
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn id(number: u32) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn user(number: u32) -> Asker {
    Asker::User {
        id: id(number),
        groups: vec![],
    }
}

fn author(asker: &Asker) -> Author {
    Author {
        asker: asker.clone(),
        request: RequestId::from_bytes([7; 16]),
        at: at(1),
    }
}

fn notes() -> ObjectType {
    ObjectType::custom("notes").unwrap()
}

fn boards() -> ObjectType {
    ObjectType::custom("boards").unwrap()
}

fn reference(object_type: &ObjectType, number: u32) -> Value {
    json!({"id": id(number).to_string(), "objectType": object_type.as_str()})
}

fn list(permission: Permission, subjects: impl IntoIterator<Item = Subject>) -> AccessList {
    let mut list = AccessList::default();
    let subjects = Subjects::of(subjects);
    match permission {
        Permission::Read => list.read = subjects,
        Permission::Update => list.update = subjects,
        Permission::Delete => list.delete = subjects,
        Permission::Admin => list.admin = subjects,
    }
    list
}

impl World {
    async fn create(
        &self,
        asker: &Asker,
        object_type: ObjectType,
        number: u32,
        properties: Value,
    ) -> Result<Written> {
        let mutation = Mutation::Create {
            id: id(number),
            object_type,
            properties: Properties::from_json(properties)?,
        };
        self.backend.write(mutation, author(asker)).await
    }

    async fn update(
        &self,
        asker: &Asker,
        object_type: ObjectType,
        number: u32,
        changes: Value,
    ) -> Result<Written> {
        let mutation = Mutation::Update {
            object_type,
            id: id(number),
            changes: Properties::from_json(changes)?,
        };
        self.backend.write(mutation, author(asker)).await
    }

    async fn delete(&self, asker: &Asker, object_type: ObjectType, number: u32) -> Result<Written> {
        let mutation = Mutation::Delete {
            object_type,
            id: id(number),
        };
        self.backend.write(mutation, author(asker)).await
    }

    async fn change(
        &self,
        asker: &Asker,
        object_type: ObjectType,
        number: u32,
        change: AccessChange,
    ) -> Result<Written> {
        let mutation = Mutation::Access {
            object_type,
            id: id(number),
            change,
        };
        self.backend.write(mutation, author(asker)).await
    }

    async fn get(&self, asker: &Asker, object_type: ObjectType, number: u32) -> Option<Object> {
        let found = self
            .backend
            .find_object(asker.clone(), object_type, id(number));
        found.await.unwrap()
    }

    /// How many are listed; the count must agree.
    async fn listed(&self, asker: &Asker, object_type: ObjectType) -> usize {
        let mut query = Query::default();
        query.page.limit = 1000;
        let texts = self
            .backend
            .list_objects(asker.clone(), object_type.clone(), &query);
        let texts = texts.await.unwrap();
        let count = self
            .backend
            .count_objects(asker.clone(), object_type, Filter::default());
        assert_eq!(count.await.unwrap(), texts.len() as u64);
        texts.len()
    }

    async fn describe(&self, name: &str, schema: Value) {
        let Value::Object(schema) = schema else {
            unreachable!("tests write objects");
        };
        let described = self.backend.describe_collection(
            name.to_owned(),
            schema,
            SchemaChange::Merge,
            author(&Asker::Admin),
        );
        described.await.unwrap();
    }

    async fn notes_extend_boards(&self) {
        let board = json!({"name": "board", "type": "ref", "objectType": "objects.boards",
                           "onCreate": {"accessControlList": "extend"}});
        self.describe("objects.notes", json!({"properties": [board]}))
            .await;
    }
}

fn kind(result: Result<Written>) -> Kind {
    result.unwrap_err().kind
}

#[tokio::test]
async fn an_open_backend_is_open_and_creators_administer() {
    let world = world(false).await;
    let made = world
        .create(&user(1), notes(), 10, json!({"a": 1}))
        .await
        .unwrap()
        .object;
    let json = made.to_json().unwrap();
    assert_eq!(
        json["creator"],
        json!({"id": id(1).to_string(), "objectType": "users"})
    );
    let changed = world
        .update(&user(2), notes(), 10, json!({"a": 2}))
        .await
        .unwrap()
        .object;
    assert_eq!(
        changed.to_json().unwrap()["updater"]["id"],
        id(2).to_string()
    );
    world
        .update(&Asker::Anonymous, notes(), 10, json!({"a": 3}))
        .await
        .unwrap();

    let own = world
        .backend
        .find_access(user(1), notes(), id(10))
        .await
        .unwrap();
    let mut expected = AccessList::open();
    expected.admin = Subjects::of([Subject::user(id(1))]);
    assert_eq!(own, expected);
    let refused = |asker| world.backend.find_access(asker, notes(), id(10));
    assert_eq!(refused(user(2)).await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(
        refused(Asker::Anonymous).await.unwrap_err().kind,
        Kind::Unauthenticated
    );

    let by_nobody = world
        .create(&Asker::Anonymous, notes(), 11, json!({}))
        .await
        .unwrap();
    assert!(by_nobody.object.to_json().unwrap().get("creator").is_none());
    let own = world
        .backend
        .find_access(Asker::Admin, notes(), id(11))
        .await
        .unwrap();
    assert_eq!(own, AccessList::open());
    world.delete(&Asker::Anonymous, notes(), 10).await.unwrap();
}

#[tokio::test]
async fn a_private_backend_keeps_what_somebody_creates_to_them() {
    let world = world(true).await;
    assert_eq!(
        kind(
            world
                .create(&Asker::Anonymous, notes(), 10, json!({}))
                .await
        ),
        Kind::Unauthenticated
    );
    world
        .create(&user(1), notes(), 10, json!({}))
        .await
        .unwrap();
    assert!(world.get(&user(1), notes(), 10).await.is_some());
    assert!(world.get(&user(2), notes(), 10).await.is_none());
    assert!(world.get(&Asker::Admin, notes(), 10).await.is_some());
    assert_eq!(
        kind(world.update(&user(2), notes(), 10, json!({})).await),
        Kind::NotFound
    );
    assert_eq!(
        kind(world.delete(&user(2), notes(), 10).await),
        Kind::NotFound
    );
    assert_eq!(
        kind(world.delete(&Asker::Anonymous, notes(), 10).await),
        Kind::NotFound
    );
    assert_eq!(
        (
            world.listed(&user(1), notes()).await,
            world.listed(&user(2), notes()).await
        ),
        (1, 0)
    );
    let count = |asker| {
        world
            .backend
            .count_objects(asker, notes(), Filter::default())
    };
    assert_eq!(
        count(Asker::Anonymous).await.unwrap_err().kind,
        Kind::Unauthenticated
    );

    let reader = AccessChange::Add(list(Permission::Read, [Subject::user(id(2))]));
    let after = world
        .change(&user(1), notes(), 10, reader.clone())
        .await
        .unwrap();
    assert_eq!(after.access.unwrap().read.len(), 1);
    assert_eq!(world.listed(&user(2), notes()).await, 1);
    // Now that it is known to be there, it is a question of permission.
    assert_eq!(
        kind(world.update(&user(2), notes(), 10, json!({})).await),
        Kind::Forbidden
    );
    assert_eq!(
        kind(world.change(&user(2), notes(), 10, reader.clone()).await),
        Kind::Forbidden
    );
    let AccessChange::Add(list) = reader else {
        unreachable!("it adds");
    };
    world
        .change(&user(1), notes(), 10, AccessChange::Withdraw(list))
        .await
        .unwrap();
    assert!(world.get(&user(2), notes(), 10).await.is_none());
}

#[tokio::test]
async fn groups_and_everybody_who_is_signed_in_are_subjects() {
    let world = world(true).await;
    let member = Asker::User {
        id: id(3),
        groups: vec![id(100), id(101)],
    };
    world
        .create(&user(1), notes(), 10, json!({}))
        .await
        .unwrap();
    world
        .create(&user(1), notes(), 11, json!({}))
        .await
        .unwrap();
    let group = list(Permission::Admin, [Subject::usergroup(id(101))]);
    world
        .change(&user(1), notes(), 10, AccessChange::Add(group))
        .await
        .unwrap();
    let signed_in = list(Permission::Read, [Subject::Authenticated]);
    world
        .change(&user(1), notes(), 11, AccessChange::Add(signed_in))
        .await
        .unwrap();
    assert_eq!(
        (
            world.listed(&member, notes()).await,
            world.listed(&user(3), notes()).await
        ),
        (2, 1)
    );
    world
        .update(&member, notes(), 10, json!({"a": 1}))
        .await
        .unwrap();
    assert!(world.get(&Asker::Anonymous, notes(), 11).await.is_none());
}

#[tokio::test]
async fn a_type_may_have_lists_of_its_own() {
    let world = world(false).await;
    let one = json!([{"id": id(1).to_string(), "objectType": "users"}]);
    let creator = json!([{"id": "creator", "objectType": "aclSubject"}]);
    world
        .describe(
            "objects.notes",
            json!({"accessControlList": {"create": one},
                   "accessControlListTemplate": {"read": creator}}),
        )
        .await;
    assert_eq!(
        kind(world.create(&user(2), notes(), 10, json!({})).await),
        Kind::Forbidden
    );
    world
        .create(&user(1), notes(), 10, json!({}))
        .await
        .unwrap();
    assert_eq!(
        kind(world.update(&user(1), notes(), 10, json!({})).await),
        Kind::Forbidden
    );
    assert_eq!(
        (
            world.listed(&user(1), notes()).await,
            world.listed(&user(2), notes()).await
        ),
        (1, 0)
    );
    assert_eq!(world.listed(&Asker::Anonymous, notes()).await, 0);
    // Other types are as they were, and what is said later takes the place of what was said.
    world
        .create(&Asker::Anonymous, boards(), 11, json!({}))
        .await
        .unwrap();
    world
        .describe("objects.notes", json!({"accessControlList": {"read": []}}))
        .await;
    let refused = world
        .backend
        .count_objects(user(1), notes(), Filter::default())
        .await;
    assert_eq!(refused.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(
        kind(world.create(&user(2), notes(), 12, json!({})).await),
        Kind::Forbidden
    );
    let types = world.backend.list_collections().await.unwrap();
    let names: Vec<&str> = types
        .iter()
        .map(|known| known.object_type.as_str())
        .collect();
    assert_eq!(names, ["objects.boards", "objects.notes"]);
}

#[tokio::test]
async fn an_object_inherits_as_long_as_it_refers() {
    let world = world(true).await;
    world.notes_extend_boards().await;
    world
        .create(&user(1), boards(), 20, json!({}))
        .await
        .unwrap();
    world
        .create(&user(1), boards(), 21, json!({}))
        .await
        .unwrap();
    let board = json!({"board": reference(&boards(), 20)});
    world.create(&user(1), notes(), 10, board).await.unwrap();
    assert!(world.get(&user(2), notes(), 10).await.is_none());

    let reader = list(Permission::Read, [Subject::user(id(2))]);
    world
        .change(&user(1), boards(), 20, AccessChange::Add(reader))
        .await
        .unwrap();
    assert_eq!(world.listed(&user(2), notes()).await, 1);
    let editor = list(Permission::Update, [Subject::user(id(2))]);
    world
        .change(&user(1), boards(), 20, AccessChange::Add(editor))
        .await
        .unwrap();
    world
        .update(&user(2), notes(), 10, json!({"a": 1}))
        .await
        .unwrap();
    assert_eq!(
        kind(world.delete(&user(2), notes(), 10).await),
        Kind::Forbidden
    );
    let own = world
        .backend
        .find_access(user(1), notes(), id(10))
        .await
        .unwrap();
    assert!(
        own.read.is_empty(),
        "what is inherited is not the object's own"
    );

    let other = json!({"board": reference(&boards(), 21)});
    world.update(&user(1), notes(), 10, other).await.unwrap();
    assert_eq!(world.listed(&user(2), notes()).await, 0);
    let back = json!({"board": reference(&boards(), 20)});
    world.update(&user(1), notes(), 10, back).await.unwrap();
    assert_eq!(world.listed(&user(2), notes()).await, 1);
    world.delete(&user(1), boards(), 20).await.unwrap();
    assert_eq!(world.listed(&user(2), notes()).await, 0);
}

#[tokio::test]
async fn whoever_may_only_update_an_object_does_not_choose_whose_lists_it_inherits() {
    let world = world(true).await;
    world.notes_extend_boards().await;
    for (owner, board) in [(1, 20), (2, 21)] {
        world
            .create(&user(owner), boards(), board, json!({}))
            .await
            .unwrap();
    }
    let board = json!({"board": reference(&boards(), 20)});
    world.create(&user(1), notes(), 10, board).await.unwrap();
    let editor = list(Permission::Update, [Subject::user(id(2))]);
    let reader = list(Permission::Read, [Subject::user(id(2))]);
    for given in [editor, reader] {
        world
            .change(&user(1), notes(), 10, AccessChange::Add(given))
            .await
            .unwrap();
    }
    // On a board of their own they would administer it, and without a board it would be lost to its readers.
    let own = json!({"board": reference(&boards(), 21)});
    let both = json!({"board": [reference(&boards(), 20), reference(&boards(), 21)]});
    for changes in [own.clone(), both, json!({"board": null})] {
        let refused = world.update(&user(2), notes(), 10, changes).await;
        assert_eq!(kind(refused), Kind::Forbidden);
    }
    // The whole object may come back as it is, also when the board is gone.
    let whole = json!({"board": reference(&boards(), 20), "a": 1});
    world
        .update(&user(2), notes(), 10, whole.clone())
        .await
        .unwrap();
    world.delete(&user(1), boards(), 20).await.unwrap();
    world.update(&user(2), notes(), 10, whole).await.unwrap();
    world.update(&user(1), notes(), 10, own).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_begins_or_ends_to_extend_counts_for_what_is_there() {
    let world = world(true).await;
    world
        .create(&user(1), boards(), 20, json!({}))
        .await
        .unwrap();
    let board = json!({"board": reference(&boards(), 20)});
    world.create(&user(2), notes(), 10, board).await.unwrap();
    assert_eq!(world.listed(&user(1), notes()).await, 0);
    world.notes_extend_boards().await;
    assert_eq!(world.listed(&user(1), notes()).await, 1);
    world
        .describe(
            "objects.notes",
            json!({"properties": [{"name": "board", "type": "ref"}]}),
        )
        .await;
    assert_eq!(world.listed(&user(1), notes()).await, 0);
    assert_eq!(world.listed(&user(2), notes()).await, 1);
}

#[tokio::test]
async fn a_circle_shares_its_readers_until_it_is_broken() {
    let world = world(true).await;
    let next = json!({"name": "next", "type": "ref", "onCreate": {"accessControlList": "extend"}});
    world
        .describe("objects.notes", json!({"properties": [next]}))
        .await;
    for number in 1..=3 {
        world
            .create(&user(number), notes(), number, json!({}))
            .await
            .unwrap();
    }
    for (number, next) in [(1, 2), (2, 3), (3, 1)] {
        let next = json!({"next": reference(&notes(), next)});
        world
            .update(&Asker::Admin, notes(), number, next)
            .await
            .unwrap();
    }
    for number in 1..=3 {
        assert_eq!(world.listed(&user(number), notes()).await, 3);
        world
            .update(&user(number), notes(), number % 3 + 1, json!({"a": 1}))
            .await
            .unwrap();
    }
    assert_eq!(world.listed(&user(4), notes()).await, 0);
    // 1 → 2 → 3, and nothing from 3: who owns 3 owns all, who owns 1 owns that alone.
    world
        .update(&Asker::Admin, notes(), 3, json!({"next": null}))
        .await
        .unwrap();
    assert_eq!(world.listed(&user(3), notes()).await, 3);
    assert_eq!(world.listed(&user(2), notes()).await, 2);
    assert_eq!(world.listed(&user(1), notes()).await, 1);
    assert_eq!(
        kind(world.update(&user(1), notes(), 2, json!({})).await),
        Kind::NotFound
    );
    let itself = json!({"next": reference(&notes(), 3)});
    world
        .update(&Asker::Admin, notes(), 3, itself)
        .await
        .unwrap();
    assert_eq!(world.listed(&user(1), notes()).await, 1);
}

#[tokio::test]
async fn a_long_chain_is_settled_at_once() {
    const LENGTH: u32 = 1000;
    let world = world(true).await;
    let next = json!({"name": "next", "type": "ref", "onCreate": {"accessControlList": "extend"}});
    world
        .describe("objects.notes", json!({"properties": [next]}))
        .await;
    let chain = (1..=LENGTH).map(|number| Mutation::Create {
        id: id(number),
        object_type: notes(),
        properties: Properties::from_json(json!({"next": reference(&notes(), number - 1)}))
            .unwrap(),
    });
    world
        .backend
        .write_all(chain.collect(), author(&Asker::Admin))
        .await
        .unwrap();
    let owner = list(Permission::Admin, [Subject::user(id(1))]);
    world
        .change(&Asker::Admin, notes(), 1, AccessChange::Add(owner))
        .await
        .unwrap();
    assert_eq!(world.listed(&user(1), notes()).await, LENGTH as usize);
    world
        .update(&user(1), notes(), LENGTH, json!({"a": 1}))
        .await
        .unwrap();
    world
        .delete(&Asker::Admin, notes(), LENGTH / 2)
        .await
        .unwrap();
    assert_eq!(
        world.listed(&user(1), notes()).await,
        LENGTH as usize / 2 - 1
    );
}

#[tokio::test]
async fn thousands_of_children_follow_their_parent() {
    const CHILDREN: u32 = 5000;
    let world = world(true).await;
    world.notes_extend_boards().await;
    world
        .create(&user(1), boards(), 1, json!({}))
        .await
        .unwrap();
    let board = json!({"board": reference(&boards(), 1)});
    let children = (1..=CHILDREN).map(|number| Mutation::Create {
        id: id(number),
        object_type: notes(),
        properties: Properties::from_json(board.clone()).unwrap(),
    });
    world
        .backend
        .write_all(children.collect(), author(&Asker::Admin))
        .await
        .unwrap();
    let count = |asker| {
        world
            .backend
            .count_objects(asker, notes(), Filter::default())
    };
    assert_eq!(count(user(1)).await.unwrap(), u64::from(CHILDREN));
    assert_eq!(count(user(2)).await.unwrap(), 0);
    let reader = list(Permission::Read, [Subject::user(id(2))]);
    world
        .change(&user(1), boards(), 1, AccessChange::Add(reader))
        .await
        .unwrap();
    assert_eq!(count(user(2)).await.unwrap(), u64::from(CHILDREN));
}

#[tokio::test]
async fn whoever_sees_little_of_a_large_type_finds_all_of_it() {
    const OTHERS: u32 = 3000;
    let world = world(true).await;
    let create = |number: u32| Mutation::Create {
        id: id(number),
        object_type: notes(),
        properties: Properties::from_json(json!({"n": number})).unwrap(),
    };
    world
        .backend
        .write_all((0..OTHERS).map(create).collect(), author(&user(1)))
        .await
        .unwrap();
    let mine: Vec<u32> = (0..20).map(|place| OTHERS + 7 * place).collect();
    let mutations = mine.iter().copied().map(create).collect();
    world
        .backend
        .write_all(mutations, author(&user(2)))
        .await
        .unwrap();
    let everyone = list(Permission::Read, [Subject::Everyone]);
    world
        .change(&user(1), notes(), 5, AccessChange::Add(everyone))
        .await
        .unwrap();

    assert_eq!(world.listed(&user(2), notes()).await, mine.len() + 1);
    let mut query = Query::default();
    query.filter = Filter::parse(&format!(r#"{{"n":{{"$gte":{}}}}}"#, OTHERS + 70)).unwrap();
    (query.page.limit, query.page.offset) = (3, 1);
    let texts = world
        .backend
        .list_objects(user(2), notes(), &query)
        .await
        .unwrap();
    let ids: Vec<Value> = texts
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap()["n"].clone())
        .collect();
    assert_eq!(ids, [OTHERS + 77, OTHERS + 84, OTHERS + 91]);
}

#[tokio::test]
async fn what_somebody_writes_is_told_to_its_readers() {
    let world = world(true).await;
    let webhook = StoredWebhook {
        id: id(1),
        url: "http://127.0.0.1:1/".to_owned(),
        events: None,
        object_types: None,
        sealed_headers: Vec::new(),
        sealed_signing: None,
        payload_as: PayloadAs::Object,
        enabled: true,
        created_at: at(0),
        updated_at: at(0),
    };
    world.backend.insert_webhook(webhook).await.unwrap();
    world
        .create(&user(1), notes(), 10, json!({}))
        .await
        .unwrap();
    let group = list(Permission::Read, [Subject::usergroup(id(5))]);
    world
        .change(&user(1), notes(), 10, AccessChange::Add(group))
        .await
        .unwrap();
    world.delete(&user(1), notes(), 10).await.unwrap();
    let due = world
        .backend
        .due_deliveries(id(1), at(10), 10)
        .await
        .unwrap();
    let told: Vec<Vec<Subject>> = due
        .iter()
        .map(|delivery| delivery.readers.subjects().iter().cloned().collect())
        .collect();
    let (owner, group) = (Subject::user(id(1)), Subject::usergroup(id(5)));
    assert_eq!(told, [vec![owner.clone()], vec![group, owner]]);
    assert_eq!(due[0].user, Some(id(1).to_string()));
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_names_the_fault() {
    let world = world(true).await;
    world
        .create(&user(1), notes(), 10, json!({}))
        .await
        .unwrap();
    let create = |number| Mutation::Create {
        id: id(number),
        object_type: notes(),
        properties: Properties::default(),
    };
    let foreign = Mutation::Delete {
        object_type: notes(),
        id: id(10),
    };
    let batch = vec![create(11), create(12), foreign];
    let error = world
        .backend
        .write_all(batch, author(&user(2)))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    assert!(
        error.message.starts_with("operations[2]: "),
        "{}",
        error.message
    );
    assert_eq!(world.listed(&Asker::Admin, notes()).await, 1);
    let written = world
        .backend
        .write_all(vec![create(11), create(12)], author(&user(2)))
        .await;
    assert_eq!(written.unwrap().len(), 2);
    assert_eq!(world.listed(&user(2), notes()).await, 2);
}

#[tokio::test]
async fn a_create_with_a_key_is_made_once_by_each_asker() {
    let world = world(false).await;
    let create = |number| Mutation::Create {
        id: id(number),
        object_type: notes(),
        properties: Properties::from_json(json!({"a": 1})).unwrap(),
    };
    let key = |asker: &Asker, request: &[u8]| OnceKey::new(asker, "k", request);
    let write = |number, asker: Asker, request: &'static [u8], millis| {
        let author = Author {
            at: at(millis),
            ..author(&asker)
        };
        world
            .backend
            .write_once(create(number), author, key(&asker, request))
    };
    let Once::Now(first) = write(1, user(1), b"a", 0).await.unwrap() else {
        panic!("nothing was made before");
    };
    let Once::Before(again) = write(2, user(1), b"a", 5).await.unwrap() else {
        panic!("it was made twice");
    };
    assert_eq!(again, first.object.text);
    assert_eq!(
        write(3, user(1), b"b", 5).await.unwrap_err().kind,
        Kind::BadRequest
    );
    assert!(matches!(
        write(4, user(2), b"b", 5).await.unwrap(),
        Once::Now(_)
    ));
    let day = 24 * 60 * 60 * 1000;
    assert!(matches!(
        write(5, user(1), b"b", day).await.unwrap(),
        Once::Now(_)
    ));
    assert_eq!(world.listed(&Asker::Admin, notes()).await, 3);
}

#[tokio::test]
async fn a_key_of_a_refused_create_is_free() {
    let world = world(true).await;
    let create = || Mutation::Create {
        id: id(1),
        object_type: notes(),
        properties: Properties::default(),
    };
    let key = OnceKey::new(&Asker::Anonymous, "k", b"a");
    let refused = world
        .backend
        .write_once(create(), author(&Asker::Anonymous), key.clone())
        .await;
    assert_eq!(refused.unwrap_err().kind, Kind::Unauthenticated);
    let made = world
        .backend
        .write_once(create(), author(&Asker::Admin), key)
        .await
        .unwrap();
    assert!(matches!(made, Once::Now(_)));
}

#[tokio::test]
async fn a_file_from_before_access_lists_is_open() {
    let world = world(false).await;
    let path = world.folder.path().join("eds");
    let path = path.join(format!("{}.db", ObjectId::from_bytes([8; 12])));
    let connection = rusqlite::Connection::open(&path).unwrap();
    let first = &super::SCHEMA.steps[0];
    connection
        .execute_batch(&format!(
            "{first}; PRAGMA user_version = 1; \
             INSERT INTO objects (type, id, created_at, updated_at, doc) VALUES \
                 ('objects.notes', '{id}', '{then}', '{then}', '{{\"id\":\"{id}\"}}')",
            id = id(10),
            then = "2013-06-28T16:38:32.369Z",
        ))
        .unwrap();
    drop(connection);
    let old = World {
        backend: world.store.backend(ObjectId::from_bytes([8; 12])),
        ..world
    };
    assert_eq!(old.listed(&Asker::Anonymous, notes()).await, 1);
    old.update(&Asker::Anonymous, notes(), 10, json!({"a": 1}))
        .await
        .unwrap();
    let own = old
        .backend
        .find_access(Asker::Admin, notes(), id(10))
        .await
        .unwrap();
    assert_eq!(own, AccessList::open());
    let types = old.backend.list_collections().await.unwrap();
    assert_eq!(types[0].object_type, notes());
    old.delete(&user(1), notes(), 10).await.unwrap();
}
