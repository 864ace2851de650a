//! The feed: what a follower learns of everything that happens in a backend, and what it does not.

use pilvi_model::{
    AccessChange, AccessList, Asker, BackendId, ObjectId, ObjectType, Properties, RequestId,
    Timestamp,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Author, Backend, Change, FeedEvent, FeedPage, FeedRow, Mutation, NewUser, Position,
    SchemaChange,
};
use crate::{Limits, Store};

struct World {
    store: Store,
    backend: Backend,
    _folder: TempDir,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Limits::default()).await.unwrap();
    let id = BackendId::from_bytes([9; 12]);
    store
        .create_private_backend(id, Timestamp::from_millis(1))
        .await
        .unwrap();
    World {
        backend: store.backend(id),
        store,
        _folder: folder,
    }
}

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

fn user(number: u8) -> Asker {
    Asker::User {
        id: id(number),
        groups: Vec::new(),
    }
}

fn admin() -> Author {
    by(Asker::Admin)
}

fn by(asker: Asker) -> Author {
    Author {
        asker,
        request: RequestId::from_bytes([7; 16]),
        at: Timestamp::from_millis(1_400_000_000_000),
    }
}

fn notes() -> ObjectType {
    ObjectType::custom("notes").unwrap()
}

fn properties(value: Value) -> Properties {
    Properties::from_json(value).unwrap()
}

fn readers(number: u8) -> AccessChange {
    let mut list = AccessList::from_json(&json!({})).unwrap();
    let reads = json!({"read": [{"id": id(number).to_string(), "objectType": "users"}]});
    list.extend(&AccessList::from_json(&reads).unwrap());
    AccessChange::Replace(list)
}

impl World {
    async fn create(&self, number: u8, values: Value) {
        let create = Mutation::Create {
            id: id(number),
            object_type: notes(),
            properties: properties(values),
        };
        self.backend.write(create, admin()).await.unwrap();
    }

    async fn update(&self, number: u8, values: Value) {
        let update = Mutation::Update {
            object_type: notes(),
            id: id(number),
            changes: properties(values),
        };
        self.backend.write(update, admin()).await.unwrap();
    }

    async fn delete(&self, number: u8) {
        let delete = Mutation::Delete {
            object_type: notes(),
            id: id(number),
        };
        self.backend.write(delete, admin()).await.unwrap();
    }

    async fn share(&self, number: u8, with: u8) {
        let access = Mutation::Access {
            object_type: notes(),
            id: id(number),
            change: readers(with),
        };
        self.backend.write(access, admin()).await.unwrap();
    }

    async fn behind(&self, seq: u64) -> FeedPage {
        self.backend.read_feed(seq, 1000).await.unwrap()
    }

    async fn end(&self) -> u64 {
        self.backend.feed_end().await.unwrap().seq
    }
}

fn events(page: &FeedPage) -> Vec<FeedEvent> {
    page.rows.iter().map(|row| row.event).collect()
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn could_read(page: &FeedPage, row: &FeedRow, asker: &Asker) -> (bool, bool) {
    let includes = |audience| page.readers(audience).unwrap().includes(asker);
    let after = includes(row.audience);
    (row.audience_before.map_or(after, includes), after)
}

#[tokio::test]
async fn a_change_is_told_with_what_was_before_it() {
    let world = world().await;
    let start = world.end().await;
    world.create(1, json!({"n": 1})).await;
    world.update(1, json!({"n": 2})).await;
    world.delete(1).await;
    let page = world.behind(start).await;
    let changes = [Change::Create, Change::Update, Change::Delete].map(FeedEvent::Change);
    assert_eq!(events(&page), changes);
    let [created, updated, deleted] = &page.rows[..] else {
        panic!("three rows");
    };
    assert_eq!(json_of(&created.document)["n"], 1);
    assert_eq!(created.before, None);
    assert_eq!(json_of(updated.before.as_deref().unwrap())["n"], 1);
    assert_eq!(json_of(&updated.document)["n"], 2);
    assert_eq!(json_of(&deleted.document)["n"], 2);
    assert_eq!(deleted.object_id, Some(id(1)));
    assert_eq!(page.next, deleted.seq);
    assert!(!page.missed);
    assert!(world.behind(page.next).await.rows.is_empty());
}

#[tokio::test]
async fn who_may_read_now_is_told_without_a_change_of_the_object() {
    let world = world().await;
    world.create(1, json!({"n": 1})).await;
    world.share(1, 2).await;
    let start = world.end().await;
    world.share(1, 3).await;
    // Nothing is different the second time.
    world.share(1, 3).await;
    let page = world.behind(start).await;
    assert_eq!(events(&page), [FeedEvent::Access]);
    let row = &page.rows[0];
    assert_eq!(could_read(&page, row, &user(2)), (true, false));
    assert_eq!(could_read(&page, row, &user(3)), (false, true));
    assert_eq!(could_read(&page, row, &Asker::Anonymous), (false, false));
    assert_eq!(json_of(&row.document)["n"], 1);
}

/// Notes that refer to a folder inherit its list.
async fn describe_inheritance(world: &World) {
    let schema = json!({"properties": [{
        "name": "parent", "type": "ref", "objectType": "objects.notes",
        "onCreate": {"accessControlList": "extend"},
    }]});
    let Value::Object(schema) = schema else {
        unreachable!("it is an object");
    };
    let described = world.backend.describe_collection(
        "objects.notes".to_owned(),
        schema,
        SchemaChange::Merge,
        admin(),
    );
    described.await.unwrap();
}

#[tokio::test]
async fn what_is_inherited_is_told_of_each_object_or_of_the_whole_type() {
    let world = world().await;
    describe_inheritance(&world).await;
    world.create(1, json!({})).await;
    let parent = json!({"parent": {"id": id(1).to_string(), "objectType": "objects.notes"}});
    for child in 2..5 {
        world.create(child, parent.clone()).await;
    }
    let start = world.end().await;
    world.share(1, 7).await;
    let page = world.behind(start).await;
    assert_eq!(events(&page), [FeedEvent::Access; 4]);
    for row in &page.rows {
        assert_eq!(could_read(&page, row, &user(7)), (false, true));
    }

    for child in 5..=120 {
        world.create(child, parent.clone()).await;
    }
    let start = world.end().await;
    world.share(1, 8).await;
    let page = world.behind(start).await;
    assert_eq!(events(&page), [FeedEvent::Resync]);
    assert_eq!(page.rows[0].object_type, "objects.notes");
}

#[tokio::test]
async fn an_update_that_moves_an_object_tells_who_could_read_it_before() {
    let world = world().await;
    describe_inheritance(&world).await;
    world.create(1, json!({})).await;
    world.share(1, 7).await;
    world.create(2, json!({})).await;
    let start = world.end().await;
    let parent = json!({"id": id(1).to_string(), "objectType": "objects.notes"});
    world.update(2, json!({"parent": parent})).await;
    let page = world.behind(start).await;
    assert_eq!(events(&page), [FeedEvent::Change(Change::Update)]);
    assert_eq!(could_read(&page, &page.rows[0], &user(7)), (false, true));
}

#[tokio::test]
async fn members_and_schemas_are_told() {
    let world = world().await;
    let new = NewUser {
        id: id(5),
        username: "ann".to_owned(),
        password: "hash".to_owned(),
        properties: properties(json!({"username": "ann"})),
    };
    world.backend.create_user(new, admin()).await.unwrap();
    let group = Mutation::Create {
        id: id(6),
        object_type: ObjectType::usergroups(),
        properties: properties(json!({"name": "editors"})),
    };
    world.backend.write(group, admin()).await.unwrap();
    let start = world.end().await;
    world
        .backend
        .add_member(id(6), id(5), admin())
        .await
        .unwrap();
    world
        .backend
        .remove_member(id(6), id(5), admin())
        .await
        .unwrap();
    describe_inheritance(&world).await;
    let page = world.behind(start).await;
    assert_eq!(
        events(&page),
        [FeedEvent::Members, FeedEvent::Members, FeedEvent::Schema]
    );
    assert_eq!(page.rows[0].object_id, Some(id(6)));
    assert_eq!(
        json_of(&page.rows[0].document)["user"],
        id(5).to_string().as_str()
    );
    assert_eq!(page.rows[2].object_type, "objects.notes");
}

#[tokio::test]
async fn followers_hear_of_commits_and_of_the_end() {
    let world = world().await;
    let mut changes = world.store.changes(world.backend.id);
    assert!(!changes.has_changed().unwrap());
    world.create(1, json!({})).await;
    // That the file was made is told, too, and may come first.
    let end = world.end().await;
    changes.wait_for(|newest| *newest == end).await.unwrap();
    world.store.delete_backend(world.backend.id).await.unwrap();
    while changes.changed().await.is_ok() {}
}

#[tokio::test]
async fn a_position_leads_back_to_where_it_was_and_nowhere_else() {
    let world = world().await;
    world.create(1, json!({})).await;
    let here = world.backend.feed_end().await.unwrap();
    assert_eq!(Position::parse(&here.to_string()), Some(here));
    world.create(2, json!({})).await;
    assert!(world.backend.reaches_back_to(here).await.unwrap());
    // The same number in another life of the file.
    let (seq, mark) = here
        .to_string()
        .split_once('-')
        .map(|(s, m)| (s.to_owned(), m.to_owned()))
        .unwrap();
    let mark = u32::from_str_radix(&mark, 16).unwrap() ^ 1;
    let other = Position::parse(&format!("{seq}-{mark:08x}")).unwrap();
    assert!(!world.backend.reaches_back_to(other).await.unwrap());
    let ahead = Position::parse("1000-00000000").unwrap();
    assert!(!world.backend.reaches_back_to(ahead).await.unwrap());
    assert!(world.behind(1000).await.missed);
    for wrong in [
        "",
        "1",
        "-",
        "1-",
        "x-0",
        "1-xyz",
        "-1-0",
        "99999999999999999999-0",
    ] {
        assert_eq!(Position::parse(wrong), None, "{wrong}");
    }
}

#[tokio::test]
async fn a_snapshot_is_what_its_position_says() {
    let world = world().await;
    for number in 1..6 {
        world.create(number, json!({"n": number})).await;
        world.share(number, number).await;
    }
    let filter = || pilvi_model::query::Filter::parse(r#"{"n":{"$gte":2}}"#).unwrap();
    let taken = |asker, limit| world.backend.snapshot(asker, notes(), filter(), limit);
    let whole = taken(Asker::Admin, 10).await.unwrap();
    assert_eq!((whole.objects.len(), whole.is_cut), (4, false));
    assert_eq!(whole.position.seq, world.end().await);
    let cut = taken(Asker::Admin, 3).await.unwrap();
    assert_eq!((cut.objects.len(), cut.is_cut), (3, true));
    let own = taken(user(3), 10).await.unwrap();
    assert_eq!(own.objects.len(), 1);
}
