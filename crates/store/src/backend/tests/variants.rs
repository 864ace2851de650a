//! Variants from the moment that they are asked for until they are gone.

use pilvi_model::variant::{Frame, Recipe};
use pilvi_model::{Blob, ContentType, Digest, FileName, FileTarget};

use super::*;
use crate::backend::{Image, NewFile, SchemaChange, Variant, VariantOutcome, VariantState};

const FILE: ObjectId = ObjectId::from_bytes([5; 12]);

fn blob(number: u8) -> Blob {
    Blob {
        digest: Digest::from_bytes([number; 32]),
        bytes: 100 + u64::from(number),
    }
}

fn image(number: u8) -> Image {
    Image {
        blob: blob(number),
        content_type: "image/png".to_owned(),
        width: 20,
        height: 20,
    }
}

fn crop(edge: u32) -> Recipe {
    Recipe::Crop(Frame::new(edge, edge).unwrap())
}

/// Lets `todos` have a property `picture` with these variants.
async fn describe(backend: &Backend, variants: Value, millis: u64) {
    let schema = json!({"properties": [{"name": "picture", "type": "ref", "objectType": "files",
        "processors": [{"type": "image", "variants": variants}]}]});
    let Value::Object(schema) = schema else {
        unreachable!("it is written as an object");
    };
    let name = todos().to_string();
    let described = backend.describe_collection(name, schema, SchemaChange::Merge, origin(millis));
    described.await.unwrap();
}

/// A file that is whole, made of blob 1, in the `picture` of a new object.
async fn upload(backend: &Backend, id: ObjectId) -> Object {
    let object = object(id.as_bytes()[0], json!({"title": "with a picture"}));
    backend
        .insert_object(object.clone(), origin(1))
        .await
        .unwrap();
    let file = NewFile {
        id,
        name: FileName::clean("a.png"),
        content_type: ContentType::parse("image/png").unwrap(),
        target: Some(FileTarget {
            object_type: todos(),
            id: object.id,
            property: Some("picture".to_owned()),
        }),
    };
    let era = backend.blob_era().await.unwrap();
    backend
        .create_whole_file(file, blob(1), era, origin(2))
        .await
        .unwrap();
    object
}

async fn variants_of(backend: &Backend, id: ObjectId) -> Value {
    let found = backend
        .find_object(Asker::Admin, ObjectType::files(), id)
        .await
        .unwrap();
    found.unwrap().to_json().unwrap()["variants"].clone()
}

async fn settle(
    backend: &Backend,
    outcomes: Vec<(&str, Recipe, VariantOutcome)>,
) -> Option<Written> {
    let owned = outcomes
        .into_iter()
        .map(|(name, recipe, outcome)| (name.to_owned(), recipe, outcome));
    backend
        .settle_variants(FILE, owned.collect(), origin(4))
        .await
        .unwrap()
}

async fn made(backend: &Backend, number: u8) -> VariantOutcome {
    VariantOutcome::Made(image(number), backend.blob_era().await.unwrap())
}

/// What rests now and would be given up.
async fn idle(backend: &Backend) -> Vec<Digest> {
    backend.doom_blobs(at(1_000_000), 10).await.unwrap()
}

#[tokio::test]
async fn a_file_gets_the_variants_that_its_property_asks_for() {
    let world = world().await;
    let backend = &world.backend;
    describe(
        backend,
        json!({"thumbnail": {"crop": "20x20"}, "large": {"crop": "99x99"}}),
        0,
    )
    .await;
    upload(backend, FILE).await;
    let processing =
        json!({"thumbnail": {"status": "processing"}, "large": {"status": "processing"}});
    assert_eq!(variants_of(backend, FILE).await, processing);

    let job = backend
        .take_variants(origin(3))
        .await
        .unwrap()
        .unwrap()
        .job
        .unwrap();
    assert_eq!((job.file, job.blob), (FILE, blob(1)));
    let mut asked = job.variants.clone();
    asked.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        asked,
        [
            ("large".to_owned(), crop(99)),
            ("thumbnail".to_owned(), crop(20))
        ]
    );

    let written = settle(
        backend,
        vec![
            ("thumbnail", crop(20), made(backend, 2).await),
            (
                "large",
                crop(99),
                VariantOutcome::Unfit("It is too dark.".to_owned()),
            ),
        ],
    );
    let shown = written.await.unwrap().object.to_json().unwrap()["variants"].clone();
    assert_eq!(
        shown,
        json!({
            "thumbnail": {"status": "complete", "contentType": "image/png", "fileSize": 102,
                          "width": 20, "height": 20},
            "large": {"status": "failed", "reason": "It is too dark."}})
    );
    assert_eq!(variants_of(backend, FILE).await, shown);
    let found = backend
        .find_variant(FILE, "thumbnail".to_owned())
        .await
        .unwrap();
    assert_eq!(
        found,
        Some(Variant {
            state: VariantState::Complete,
            reason: None,
            image: Some(image(2))
        })
    );
    assert_eq!(
        backend.find_variant(FILE, "none".to_owned()).await.unwrap(),
        None
    );
    assert!(backend.take_variants(origin(5)).await.unwrap().is_none());
    assert_eq!(backend.next_variants_at().await.unwrap(), None);
}

#[tokio::test]
async fn what_a_crash_interrupts_is_taken_again_a_few_times() {
    let world = world().await;
    let backend = &world.backend;
    describe(backend, json!({"thumbnail": {"crop": "20x20"}}), 0).await;
    upload(backend, FILE).await;
    for attempt in 0..5 {
        let taken = backend.take_variants(origin(3)).await.unwrap().unwrap();
        assert!(taken.job.is_some() && taken.written.is_none(), "{attempt}");
    }
    let taken = backend.take_variants(origin(3)).await.unwrap().unwrap();
    assert!(taken.job.is_none());
    let shown = taken.written.unwrap().object.to_json().unwrap()["variants"].clone();
    assert_eq!(shown["thumbnail"]["status"], "failed");
    assert!(
        shown["thumbnail"]["reason"]
            .as_str()
            .unwrap()
            .contains("stopped each time")
    );
    assert!(backend.take_variants(origin(3)).await.unwrap().is_none());
}

#[tokio::test]
async fn what_has_to_wait_is_no_attempt() {
    let world = world().await;
    let backend = &world.backend;
    describe(backend, json!({"thumbnail": {"crop": "20x20"}}), 0).await;
    upload(backend, FILE).await;
    for _ in 0..20 {
        assert!(
            backend
                .take_variants(origin(10))
                .await
                .unwrap()
                .unwrap()
                .job
                .is_some()
        );
        let later = VariantOutcome::Later(at(10));
        assert!(
            settle(backend, vec![("thumbnail", crop(20), later)])
                .await
                .is_none()
        );
    }
    let later = VariantOutcome::Later(at(11));
    settle(backend, vec![("thumbnail", crop(20), later)]).await;
    assert!(backend.take_variants(origin(10)).await.unwrap().is_none());
    assert_eq!(backend.next_variants_at().await.unwrap(), Some(at(11)));
    assert!(
        backend
            .take_variants(origin(11))
            .await
            .unwrap()
            .unwrap()
            .job
            .is_some()
    );
}

#[tokio::test]
async fn variants_go_with_their_file_and_leave_their_bytes_to_be_collected() {
    let world = world().await;
    let backend = &world.backend;
    describe(backend, json!({"thumbnail": {"crop": "20x20"}}), 0).await;
    let owner = upload(backend, FILE).await;
    settle(
        backend,
        vec![("thumbnail", crop(20), made(backend, 2).await)],
    )
    .await;
    assert_eq!(idle(backend).await, []);
    backend
        .delete_object(todos(), owner.id, origin(6))
        .await
        .unwrap();
    assert_eq!(
        backend
            .find_variant(FILE, "thumbnail".to_owned())
            .await
            .unwrap(),
        None
    );
    assert_eq!(idle(backend).await, [blob(1).digest, blob(2).digest]);
    // What was being made when the file went is made for nobody.
    assert!(
        settle(
            backend,
            vec![("thumbnail", crop(20), made(backend, 3).await)]
        )
        .await
        .is_none()
    );
    assert!(backend.take_variants(origin(9)).await.unwrap().is_none());
}

#[tokio::test]
async fn other_processors_make_other_variants() {
    let world = world().await;
    let backend = &world.backend;
    describe(
        backend,
        json!({"thumbnail": {"crop": "20x20"}, "same": {"crop": "5x5"}}),
        0,
    )
    .await;
    upload(backend, FILE).await;
    upload(backend, ObjectId::from_bytes([6; 12])).await;
    let outcomes = vec![
        ("thumbnail", crop(20), made(backend, 2).await),
        ("same", crop(5), made(backend, 3).await),
    ];
    settle(backend, outcomes).await;
    // One is changed, one is new, and one stays as it is.
    let others =
        json!({"thumbnail": {"crop": "30x30"}, "same": {"crop": "5x5"}, "new": {"fit": "7x7"}});
    describe(backend, others, 5).await;
    let (written, more) = backend.revise_variants(origin(6)).await.unwrap();
    assert_eq!((written.len(), more), (2, false));
    let shown = variants_of(backend, FILE).await;
    assert_eq!(shown["thumbnail"], json!({"status": "processing"}));
    assert_eq!(shown["same"]["status"], "complete");
    assert_eq!(shown["new"], json!({"status": "processing"}));
    assert_eq!(idle(backend).await, [blob(2).digest]);
    // What was made by the former recipe comes too late.
    assert!(
        settle(
            backend,
            vec![("thumbnail", crop(20), made(backend, 4).await)]
        )
        .await
        .is_none()
    );
    // Another change of the schema is none of the variants.
    let settings = json!({"settings": {"websocket": true}})
        .as_object()
        .unwrap()
        .clone();
    let name = todos().to_string();
    let described = backend.describe_collection(name, settings, SchemaChange::Merge, origin(7));
    described.await.unwrap();
    assert!(
        backend
            .revise_variants(origin(8))
            .await
            .unwrap()
            .0
            .is_empty()
    );
}

#[tokio::test]
async fn a_schema_that_comes_late_reaches_all_files_step_by_step() {
    let world = world().await;
    let backend = &world.backend;
    let owner = object(1, json!({}));
    backend
        .insert_object(owner.clone(), origin(1))
        .await
        .unwrap();
    let era = backend.blob_era().await.unwrap();
    const FILES: u16 = 450;
    for number in 0..FILES {
        let mut id = [8; 12];
        id[10..].copy_from_slice(&number.to_be_bytes());
        let file = NewFile {
            id: ObjectId::from_bytes(id),
            name: FileName::clean("a.png"),
            content_type: ContentType::parse("image/png").unwrap(),
            target: Some(FileTarget {
                object_type: todos(),
                id: owner.id,
                property: Some("picture".to_owned()),
            }),
        };
        backend
            .create_whole_file(file, blob(1), era, origin(2))
            .await
            .unwrap();
    }
    assert!(backend.take_variants(origin(3)).await.unwrap().is_none());
    describe(backend, json!({"thumbnail": {"crop": "20x20"}}), 4).await;
    let (mut steps, mut changed) = (0, 0);
    loop {
        let (written, more) = backend.revise_variants(origin(5)).await.unwrap();
        steps += 1;
        changed += written.len();
        if !more {
            break;
        }
    }
    assert!(steps > 1);
    // Each upload took the place of the one before; those that the property dropped have no variants.
    assert!(changed >= 1, "{changed}");
    assert!(
        backend
            .take_variants(origin(6))
            .await
            .unwrap()
            .unwrap()
            .job
            .is_some()
    );
}
