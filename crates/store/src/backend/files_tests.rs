//! Files and the objects they belong to, through the public methods of a backend.

use pilvi_model::query::{Filter, Query};
use pilvi_model::{
    AccessChange, AccessList, Asker, Blob, ContentRange, ContentType, Digest, FileName, FileTarget,
    Kind, ObjectId, ObjectType, Properties, RequestId, Result, Subject, Timestamp,
    access::Subjects,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Author, Backend, BlobEra, Change, FeedEvent, Mutation, NewFile, Written};
use crate::{Limits, Store};

struct World {
    backend: Backend,
    _store: Store,
    _folder: TempDir,
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
        _store: store,
        _folder: folder,
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

fn user(number: u8) -> Asker {
    Asker::User {
        id: id(number),
        groups: vec![],
    }
}

fn author(asker: &Asker) -> Author {
    author_at(asker, 1)
}

fn author_at(asker: &Asker, millis: u64) -> Author {
    Author {
        asker: asker.clone(),
        request: RequestId::from_bytes([7; 16]),
        at: at(millis),
    }
}

fn blob(number: u8) -> Blob {
    Blob {
        digest: Digest::from_bytes([number; 32]),
        bytes: 100 + u64::from(number),
    }
}

fn photos() -> ObjectType {
    ObjectType::custom("photos").unwrap()
}

fn reference(number: u8) -> Value {
    json!({"id": id(number).to_string(), "objectType": "files"})
}

fn for_photo(number: u8, property: Option<&str>) -> Option<FileTarget> {
    Some(FileTarget {
        object_type: photos(),
        id: id(number),
        property: property.map(str::to_owned),
    })
}

fn new_file(number: u8, target: Option<FileTarget>) -> NewFile {
    let name = FileName::clean("test.png");
    NewFile {
        id: id(number),
        content_type: ContentType::guess(&name),
        name,
        target,
    }
}

fn range(text: &str) -> ContentRange {
    let (start, rest) = text.split_once('-').unwrap();
    let end = rest.split('/').next().unwrap();
    let length = end.parse::<u64>().unwrap() - start.parse::<u64>().unwrap();
    ContentRange::parse(text.as_bytes(), length).unwrap()
}

fn json_of(written: &Written) -> Value {
    written.object.to_json().unwrap()
}

impl World {
    async fn era(&self) -> BlobEra {
        self.backend.blob_era().await.unwrap()
    }

    async fn photo(&self, asker: &Asker, number: u8, properties: Value) -> Result<Written> {
        let mutation = Mutation::Create {
            id: id(number),
            object_type: photos(),
            properties: Properties::from_json(properties)?,
        };
        self.backend.write(mutation, author(asker)).await
    }

    async fn set(&self, asker: &Asker, number: u8, changes: Value) -> Result<Written> {
        let mutation = Mutation::Update {
            object_type: photos(),
            id: id(number),
            changes: Properties::from_json(changes)?,
        };
        self.backend.write(mutation, author_at(asker, 10)).await
    }

    async fn delete(&self, asker: &Asker, object_type: ObjectType, number: u8) -> Result<Written> {
        let mutation = Mutation::Delete {
            object_type,
            id: id(number),
        };
        self.backend.write(mutation, author(asker)).await
    }

    async fn upload(
        &self,
        asker: &Asker,
        number: u8,
        target: Option<FileTarget>,
    ) -> Result<Written> {
        let era = self.era().await;
        let file = new_file(number, target);
        let author = author(asker);
        self.backend
            .create_whole_file(file, blob(number), era, author)
            .await
    }

    async fn file(&self, asker: &Asker, number: u8) -> Option<Value> {
        let files = ObjectType::files();
        let found = self.backend.find_object(asker.clone(), files, id(number));
        found.await.unwrap().map(|object| object.to_json().unwrap())
    }

    async fn stored_photo(&self, number: u8) -> Value {
        let found = self.backend.find_object(Asker::Admin, photos(), id(number));
        found.await.unwrap().unwrap().to_json().unwrap()
    }

    async fn orphans(&self) -> Vec<ObjectId> {
        let (unlinked, touched) = (at(1000), at(0));
        self.backend
            .find_orphans(unlinked, touched, 100)
            .await
            .unwrap()
    }

    async fn share(&self, number: u8, list: AccessList) {
        let mutation = Mutation::Access {
            object_type: photos(),
            id: id(number),
            change: AccessChange::Replace(list),
        };
        self.backend
            .write(mutation, author(&Asker::Admin))
            .await
            .unwrap();
    }

    async fn idle_blobs(&self) -> Vec<Digest> {
        self.backend.doom_blobs(at(1000), 100).await.unwrap()
    }

    async fn feed(&self) -> Vec<(FeedEvent, String)> {
        let page = self.backend.read_feed(0, 1000).await.unwrap();
        let rows = page.rows.into_iter();
        rows.map(|row| (row.event, row.object_type)).collect()
    }
}

#[tokio::test]
async fn an_upload_is_named_by_its_target_at_once() {
    let world = world(false).await;
    let nobody = Asker::Anonymous;
    let before = world
        .photo(&nobody, 1, json!({"title": "A"}))
        .await
        .unwrap();
    let written = world
        .upload(&nobody, 2, for_photo(1, Some("file")))
        .await
        .unwrap();
    let file = json_of(&written);
    assert_eq!(file["fileName"], "test.png");
    assert_eq!(file["fileSize"], 102);
    assert_eq!(file["contentType"], "image/png");
    assert_eq!(file["status"], "complete");
    assert_eq!(file["sha256"], blob(2).digest.to_string());
    assert_eq!(file["variants"], json!({}));
    let target =
        json!({"id": id(1).to_string(), "objectType": "objects.photos", "propertyName": "file"});
    assert_eq!(file["targetFileProperty"], target);
    let photo = world.stored_photo(1).await;
    assert_eq!(photo["file"], reference(2));
    assert_eq!(photo["title"], "A");
    assert!(
        photo["updatedAt"].as_str().unwrap() > before.object.updated_at.to_millis_text().as_str()
    );
    assert_eq!(world.orphans().await, []);
    let files = "files".to_owned();
    let photos = "objects.photos".to_owned();
    assert_eq!(
        world.feed().await,
        [
            (FeedEvent::Change(Change::Create), photos.clone()),
            (FeedEvent::Change(Change::Create), files),
            (FeedEvent::Change(Change::Update), photos),
        ]
    );
}

#[tokio::test]
async fn an_upload_in_pieces_is_empty_then_incomplete_then_complete() {
    let world = world(false).await;
    let nobody = Asker::Anonymous;
    world.photo(&nobody, 1, json!({})).await.unwrap();
    let file = new_file(2, for_photo(1, Some("file")));
    let written = world
        .backend
        .create_file(file, author(&nobody))
        .await
        .unwrap();
    assert_eq!(json_of(&written)["status"], "empty");
    assert_eq!(world.stored_photo(1).await.get("file"), None);
    let first = world
        .backend
        .take_piece(id(2), range("0-60/102"), author(&nobody));
    assert_eq!(json_of(&first.await.unwrap())["status"], "incomplete");
    // What is there is known, and only that goes on.
    let found = world
        .backend
        .find_upload(nobody.clone(), id(2), Some(range("0-60/102")));
    let found = found.await.unwrap();
    assert_eq!(
        (found.received, found.total, found.has_piece, found.is_whole),
        (60, Some(102), true, false)
    );
    let again = world
        .backend
        .take_piece(id(2), range("0-60/102"), author(&nobody))
        .await;
    assert_eq!(again.unwrap_err().kind, Kind::Conflict);
    let other = world
        .backend
        .find_upload(nobody.clone(), id(2), Some(range("0-50/102")));
    assert!(!other.await.unwrap().has_piece);
    assert_eq!(
        world.backend.received_of(vec![id(2), id(1)]).await.unwrap(),
        [(id(2), 60)]
    );
    world
        .backend
        .take_piece(id(2), range("60-102/102"), author(&nobody))
        .await
        .unwrap();
    // Nothing to download yet.
    assert!(
        world
            .backend
            .find_whole_file(nobody.clone(), id(2))
            .await
            .unwrap()
            .is_none()
    );
    let era = world.era().await;
    let done = world
        .backend
        .complete_file(id(2), blob(2), era, author(&nobody))
        .await
        .unwrap();
    assert_eq!(json_of(&done)["status"], "complete");
    assert_eq!(json_of(&done)["fileSize"], 102);
    assert_eq!(world.stored_photo(1).await["file"], reference(2));
    let whole = world
        .backend
        .find_whole_file(nobody.clone(), id(2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((whole.blob, whole.name.as_str()), (blob(2), "test.png"));
    // The same again, as after a lost reply; something else is refused.
    world
        .backend
        .complete_file(id(2), blob(2), era, author(&nobody))
        .await
        .unwrap();
    let other = world
        .backend
        .complete_file(id(2), blob(3), era, author(&nobody))
        .await;
    assert_eq!(other.unwrap_err().kind, Kind::Conflict);
    // The pieces are of no use any more.
    assert_eq!(world.backend.find_spent_uploads(10).await.unwrap(), [id(2)]);
    world
        .backend
        .forget_spent_uploads(vec![id(2)])
        .await
        .unwrap();
    assert_eq!(world.backend.find_spent_uploads(10).await.unwrap(), []);
}

#[tokio::test]
async fn a_file_follows_the_rights_of_its_owner() {
    let world = world(true).await;
    let (owner, friend, stranger) = (user(1), user(2), user(3));
    world.photo(&owner, 1, json!({})).await.unwrap();
    world
        .upload(&owner, 5, for_photo(1, Some("file")))
        .await
        .unwrap();
    assert!(world.file(&owner, 5).await.is_some());
    for other in [&friend, &stranger, &Asker::Anonymous] {
        assert!(world.file(other, 5).await.is_none());
    }
    let mut list = AccessList {
        admin: Subjects::of([Subject::user(id(1))]),
        read: Subjects::of([Subject::user(id(2))]),
        ..AccessList::default()
    };
    world.share(1, list.clone()).await;
    assert!(world.file(&friend, 5).await.is_some());
    assert!(world.file(&stranger, 5).await.is_none());
    let files = ObjectType::files();
    let filter = || Filter::parse("{}").unwrap();
    let query = Query::default();
    for (asker, count) in [(&owner, 1), (&friend, 1), (&stranger, 0)] {
        let listed = world
            .backend
            .list_objects(asker.clone(), files.clone(), &query);
        assert_eq!(listed.await.unwrap().len(), count);
        let counted = world
            .backend
            .count_objects(asker.clone(), files.clone(), filter());
        assert_eq!(counted.await.unwrap(), count as u64);
    }
    // Whoever may only read changes nothing.
    let refused = world.delete(&friend, files.clone(), 5).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Forbidden);
    let found = world
        .backend
        .find_upload(friend.clone(), id(5), None)
        .await
        .unwrap_err();
    assert_eq!(found.kind, Kind::Forbidden);
    list.read = Subjects::default();
    world.share(1, list).await;
    assert!(world.file(&friend, 5).await.is_none());
    world.delete(&owner, photos(), 1).await.unwrap();
    assert!(world.file(&Asker::Admin, 5).await.is_none());
}

#[tokio::test]
async fn uploading_needs_the_right_to_change_the_target() {
    let world = world(true).await;
    let (owner, stranger) = (user(1), user(3));
    world.photo(&owner, 1, json!({})).await.unwrap();
    let check = |asker: &Asker, target| world.backend.check_upload(asker.clone(), target);
    assert_eq!(
        check(&stranger, for_photo(1, Some("file")))
            .await
            .unwrap_err()
            .kind,
        Kind::NotFound
    );
    assert_eq!(
        check(&owner, for_photo(7, Some("file")))
            .await
            .unwrap_err()
            .kind,
        Kind::NotFound
    );
    assert_eq!(
        check(&Asker::Anonymous, None).await.unwrap_err().kind,
        Kind::Unauthenticated
    );
    check(&owner, for_photo(1, Some("file"))).await.unwrap();
    let list = AccessList {
        read: Subjects::everyone(),
        admin: Subjects::of([Subject::user(id(1))]),
        ..AccessList::default()
    };
    world.share(1, list).await;
    assert_eq!(
        check(&stranger, for_photo(1, Some("file")))
            .await
            .unwrap_err()
            .kind,
        Kind::Forbidden
    );
    // It is the write that decides.
    let refused = world
        .upload(&stranger, 5, for_photo(1, Some("file")))
        .await
        .unwrap_err();
    assert_eq!(refused.kind, Kind::Forbidden);
    assert!(world.file(&Asker::Admin, 5).await.is_none());
    assert_eq!(world.stored_photo(1).await.get("file"), None);
    world
        .upload(&owner, 5, for_photo(1, Some("file")))
        .await
        .unwrap();
    assert!(world.file(&Asker::Anonymous, 5).await.is_some());
}

#[tokio::test]
async fn what_a_property_drops_is_an_orphan_of_its_creator_and_may_come_back() {
    let world = world(true).await;
    let owner = user(1);
    world.photo(&owner, 1, json!({})).await.unwrap();
    let list = AccessList {
        read: Subjects::of([Subject::user(id(2))]),
        update: Subjects::of([Subject::user(id(2))]),
        admin: Subjects::of([Subject::user(id(1))]),
        ..AccessList::default()
    };
    world.share(1, list).await;
    world
        .upload(&owner, 5, for_photo(1, Some("file")))
        .await
        .unwrap();
    let editor = user(2);
    assert!(world.file(&editor, 5).await.is_some());
    world.set(&editor, 1, json!({"file": null})).await.unwrap();
    assert_eq!(world.orphans().await, [id(5)]);
    let file = world.file(&owner, 5).await.unwrap();
    assert_eq!(file.get("targetFileProperty"), None);
    assert!(world.file(&editor, 5).await.is_none());
    // Whoever may change the object puts its own file back.
    world
        .set(&editor, 1, json!({"file": reference(5)}))
        .await
        .unwrap();
    assert_eq!(world.orphans().await, []);
    assert_eq!(
        world.file(&editor, 5).await.unwrap()["targetFileProperty"]["id"],
        id(1).to_string()
    );
    // The next one takes its place.
    world
        .upload(&owner, 6, for_photo(1, Some("file")))
        .await
        .unwrap();
    assert_eq!(world.orphans().await, [id(5)]);
    assert_eq!(world.stored_photo(1).await["file"], reference(6));
    let files = [id(5)].to_vec();
    let collected = world
        .backend
        .collect_orphans(files, at(1000), at(0), author(&Asker::Admin));
    assert_eq!(collected.await.unwrap().len(), 1);
    assert!(world.file(&Asker::Admin, 5).await.is_none());
    assert_eq!(world.idle_blobs().await, [blob(5).digest]);
}

#[tokio::test]
async fn naming_somebody_elses_file_opens_nothing_and_takes_nothing() {
    let world = world(true).await;
    let (owner, thief) = (user(1), user(2));
    world.photo(&owner, 1, json!({})).await.unwrap();
    world
        .upload(&owner, 5, for_photo(1, Some("file")))
        .await
        .unwrap();
    // An orphan of somebody else, and one that is still being uploaded for somebody else's object.
    world.upload(&owner, 6, None).await.unwrap();
    let pending = new_file(7, for_photo(1, Some("other")));
    world
        .backend
        .create_file(pending, author(&owner))
        .await
        .unwrap();
    let all = json!({"a": reference(5), "b": [reference(6), reference(7)], "c": reference(99)});
    world.photo(&thief, 2, all.clone()).await.unwrap();
    for number in [5, 6, 7] {
        assert!(world.file(&thief, number).await.is_none(), "{number}");
    }
    world
        .set(&thief, 2, json!({"a": null, "b": null}))
        .await
        .unwrap();
    world.set(&thief, 2, all).await.unwrap();
    world.delete(&thief, photos(), 2).await.unwrap();
    for number in [5, 6, 7] {
        assert!(world.file(&owner, number).await.is_some(), "{number}");
    }
    assert_eq!(world.stored_photo(1).await["file"], reference(5));
}

#[tokio::test]
async fn an_orphan_is_taken_by_an_object_of_whoever_may_read_it() {
    let world = world(true).await;
    let owner = user(1);
    world.upload(&owner, 5, None).await.unwrap();
    assert_eq!(world.orphans().await, [id(5)]);
    assert!(world.file(&owner, 5).await.is_some());
    assert!(world.file(&user(2), 5).await.is_none());
    world
        .photo(&owner, 1, json!({"list": [reference(5)]}))
        .await
        .unwrap();
    assert_eq!(world.orphans().await, []);
    let file = world.file(&owner, 5).await.unwrap();
    assert_eq!(file["targetFileProperty"]["propertyName"], "list");
    // To another property of the same object.
    world
        .set(&owner, 1, json!({"list": null, "one": reference(5)}))
        .await
        .unwrap();
    assert_eq!(
        world.file(&owner, 5).await.unwrap()["targetFileProperty"]["propertyName"],
        "one"
    );
    assert_eq!(world.orphans().await, []);
    world.delete(&owner, photos(), 1).await.unwrap();
    assert!(world.file(&Asker::Admin, 5).await.is_none());
    assert_eq!(world.idle_blobs().await, [blob(5).digest]);
}

#[tokio::test]
async fn a_file_for_an_object_without_a_property_waits_until_that_names_it() {
    let world = world(false).await;
    let nobody = Asker::Anonymous;
    world.photo(&nobody, 1, json!({})).await.unwrap();
    world.upload(&nobody, 5, for_photo(1, None)).await.unwrap();
    assert_eq!(world.orphans().await, [id(5)]);
    assert_eq!(world.stored_photo(1).await.get("file"), None);
    world
        .set(&nobody, 1, json!({"file": reference(5)}))
        .await
        .unwrap();
    assert_eq!(world.orphans().await, []);
    assert_eq!(
        world.file(&nobody, 5).await.unwrap()["targetFileProperty"]["propertyName"],
        "file"
    );
}

#[tokio::test]
async fn what_nobody_in_particular_uploads_is_as_open_as_the_backend() {
    let open = world(false).await;
    open.upload(&Asker::Anonymous, 5, None).await.unwrap();
    assert!(open.file(&user(1), 5).await.is_some());
    let closed = world(true).await;
    closed.upload(&Asker::Admin, 5, None).await.unwrap();
    assert!(closed.file(&user(1), 5).await.is_none());
}

#[tokio::test]
async fn deleting_a_file_takes_it_out_of_its_owner() {
    let world = world(false).await;
    let nobody = Asker::Anonymous;
    world.photo(&nobody, 1, json!({})).await.unwrap();
    world
        .upload(&nobody, 5, for_photo(1, Some("file")))
        .await
        .unwrap();
    world.upload(&nobody, 6, None).await.unwrap();
    world
        .set(&nobody, 1, json!({"more": [reference(6), "x"]}))
        .await
        .unwrap();
    for number in [5, 6] {
        world
            .delete(&nobody, ObjectType::files(), number)
            .await
            .unwrap();
    }
    let photo = world.stored_photo(1).await;
    assert_eq!(photo["file"], Value::Null);
    assert_eq!(photo["more"], json!(["x"]));
    let mut idle = world.idle_blobs().await;
    idle.sort();
    assert_eq!(idle, [blob(5).digest, blob(6).digest]);
    let again = world.delete(&nobody, ObjectType::files(), 5).await;
    assert_eq!(again.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test]
async fn an_upload_that_nobody_goes_on_with_is_collected_with_its_pieces() {
    let world = world(false).await;
    let nobody = Asker::Anonymous;
    world.photo(&nobody, 1, json!({})).await.unwrap();
    let file = new_file(5, for_photo(1, Some("file")));
    world
        .backend
        .create_file(file, author(&nobody))
        .await
        .unwrap();
    let piece = world
        .backend
        .take_piece(id(5), range("0-1/2"), author_at(&nobody, 50));
    piece.await.unwrap();
    let orphans = |touched: u64| world.backend.find_orphans(at(1000), at(touched), 10);
    assert_eq!(orphans(50).await.unwrap(), []);
    assert_eq!(orphans(51).await.unwrap(), [id(5)]);
    // It goes on after all, before it is collected.
    let by = || author(&Asker::Admin);
    let kept = world
        .backend
        .collect_orphans(vec![id(5)], at(1000), at(50), by());
    assert!(kept.await.unwrap().is_empty());
    let collected = world
        .backend
        .collect_orphans(vec![id(5)], at(1000), at(51), by());
    assert_eq!(collected.await.unwrap().len(), 1);
    assert!(world.file(&Asker::Admin, 5).await.is_none());
    assert_eq!(world.backend.find_spent_uploads(10).await.unwrap(), [id(5)]);
}

#[tokio::test]
async fn the_same_bytes_are_counted_once_for_each_file() {
    let world = world(false).await;
    let nobody = Asker::Anonymous;
    let era = world.era().await;
    for number in [5, 6] {
        let file = new_file(number, None);
        let made = world
            .backend
            .create_whole_file(file, blob(1), era, author(&nobody));
        made.await.unwrap();
    }
    world.delete(&nobody, ObjectType::files(), 5).await.unwrap();
    assert_eq!(world.idle_blobs().await, []);
    world.delete(&nobody, ObjectType::files(), 6).await.unwrap();
    assert_eq!(world.idle_blobs().await, [blob(1).digest]);
    // Given up: a new use has to wait until it is written off.
    let file = new_file(7, None);
    let refused = world
        .backend
        .create_whole_file(file.clone(), blob(1), era, author(&nobody))
        .await;
    assert_eq!(refused.unwrap_err().kind, Kind::Unavailable);
    world
        .backend
        .bury_blobs(vec![blob(1).digest], at(20))
        .await
        .unwrap();
    let era = world.era().await;
    world
        .backend
        .create_whole_file(file, blob(1), era, author(&nobody))
        .await
        .unwrap();
    assert_eq!(
        world
            .backend
            .unknown_blobs(vec![blob(1).digest, blob(2).digest])
            .await
            .unwrap(),
        [blob(2).digest]
    );
    world
        .backend
        .note_blobs(vec![blob(1), blob(2)], at(30))
        .await
        .unwrap();
    assert_eq!(world.idle_blobs().await, [blob(2).digest]);
}

#[tokio::test]
async fn a_file_stays_its_owners_when_its_type_is_described() {
    let world = world(false).await;
    let nobody = Asker::Anonymous;
    world.photo(&nobody, 1, json!({})).await.unwrap();
    world
        .upload(&nobody, 5, for_photo(1, Some("file")))
        .await
        .unwrap();
    world.share(1, AccessList::default()).await;
    assert!(world.file(&nobody, 5).await.is_none());
    let mut schema = serde_json::Map::new();
    let property =
        json!({"name": "album", "type": "ref", "onCreate": {"accessControlList": "extend"}});
    schema.insert("properties".to_owned(), json!([property]));
    let change = super::SchemaChange::Merge;
    let described = world.backend.describe_collection(
        "files".to_owned(),
        schema,
        change,
        author(&Asker::Admin),
    );
    described.await.unwrap();
    assert!(world.file(&nobody, 5).await.is_none());
    let mutation = Mutation::Update {
        object_type: ObjectType::files(),
        id: id(5),
        changes: Properties::from_json(json!({"title": "x"})).unwrap(),
    };
    world
        .backend
        .write(mutation, author(&Asker::Admin))
        .await
        .unwrap();
    assert!(world.file(&nobody, 5).await.is_none());
    world.delete(&Asker::Admin, photos(), 1).await.unwrap();
    assert!(world.file(&Asker::Admin, 5).await.is_none());
}
