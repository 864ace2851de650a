//! Places that fail: buckets that are gone or do not know us, disks that are full, servers that were killed.

use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pilvi_base::disk::Reserve;
use pilvi_blobs::Blobs;
use pilvi_model::{BackendId, Kind, ObjectId};

use crate::places::{NO_RESERVE, Place, S3, files_below};

const MINE: BackendId = ObjectId::from_bytes([1; 12]);
const UPLOAD: ObjectId = ObjectId::from_bytes([3; 12]);

#[tokio::test]
async fn a_bucket_that_is_gone_is_said_to_be_gone_and_comes_back() {
    let place = Place::bucket().await;
    let mut staging = place.blobs.stage(MINE).await.unwrap();
    staging.write(Bytes::from_static(b"hello")).await.unwrap();
    let blob = staging.finish().await.unwrap();
    let server = place.server.as_ref().unwrap();
    server.stop().await;

    let began = Instant::now();
    let mut staging = place.blobs.stage(MINE).await.unwrap();
    staging
        .write(Bytes::from_static(b"hello again"))
        .await
        .unwrap();
    let outcomes = [
        place.blobs.probe().await.unwrap_err(),
        staging.finish().await.unwrap_err(),
        place
            .blobs
            .open(MINE, &blob.digest, 0..1)
            .await
            .err()
            .unwrap(),
        place.blobs.size(MINE, &blob.digest).await.unwrap_err(),
        place.blobs.usage(MINE).await.unwrap_err(),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.kind, Kind::Unavailable);
        assert!(
            outcome.message.contains("cannot be reached"),
            "{}",
            outcome.message
        );
        let cause = std::error::Error::source(&outcome).unwrap().to_string();
        assert!(
            !outcome.message.contains("127.0.0.1"),
            "{}",
            outcome.message
        );
        assert!(cause.contains("bucket"), "{cause}");
    }
    assert!(began.elapsed() < Duration::from_secs(45));
    assert_eq!(files_below(&place.folder.path().join("drafts")).len(), 0);

    let again = S3::start(&place.folder.path().join("s3")).await;
    let blobs = again
        .client(&place.folder.path().join("drafts"), "not a secret at all")
        .await;
    assert_eq!(blobs.read(MINE, &blob.digest, 100).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_bucket_that_does_not_know_us_is_the_operators_business() {
    let place = Place::bucket().await;
    let server = place.server.as_ref().unwrap();
    let blobs = server
        .client(&place.folder.path().join("drafts"), "another")
        .await;
    let refused = blobs.probe().await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable);
    assert!(refused.message.contains("keys"), "{refused:?}");
    assert!(!format!("{refused:?}").contains("another"), "{refused:?}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_from_a_blob_that_is_not() {
    let place = Place::bucket().await;
    fs::remove_dir_all(place.folder.path().join("s3/pilvi-files")).unwrap();
    let missing = place.blobs.probe().await.unwrap_err();
    assert_eq!(missing.kind, Kind::Unavailable);
    assert!(missing.message.contains("no such bucket"), "{missing:?}");
}

#[tokio::test]
async fn what_was_under_way_when_the_server_was_killed_is_swept_and_uploads_stay() {
    let place = Place::folder().await;
    let files = place.folder.path().join("files");
    place
        .blobs
        .put_part(MINE, UPLOAD, 0, Bytes::from_static(b"01234"))
        .await
        .unwrap();
    drop(place.blobs);
    fs::write(files.join("drafts/0123456789ab"), b"half of something").unwrap();

    let blobs = Blobs::folder(&files, NO_RESERVE).await.unwrap();
    assert_eq!(files_below(&files.join("drafts")).len(), 0);
    assert_eq!(blobs.upload_size(MINE, UPLOAD).await.unwrap(), 5);
    blobs
        .put_part(MINE, UPLOAD, 5, Bytes::from_static(b"56789"))
        .await
        .unwrap();
    let blob = blobs.join(MINE, UPLOAD, 10).await.unwrap();
    assert_eq!(
        blobs.read(MINE, &blob.digest, 10).await.unwrap(),
        "0123456789"
    );
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_takes_nothing_and_gives_everything() {
    let place = Place::folder().await;
    let files = place.folder.path().join("files");
    let mut staging = place.blobs.stage(MINE).await.unwrap();
    staging.write(Bytes::from_static(b"hello")).await.unwrap();
    let blob = staging.finish().await.unwrap();
    // More than any disk has.
    let everything = Reserve {
        bytes: u64::MAX,
        percent: u8::MAX,
    };
    let blobs = Blobs::folder(&files, everything).await.unwrap();
    let refused = blobs.stage(MINE).await.err().unwrap();
    assert_eq!(refused.kind, Kind::Unavailable);
    assert!(
        refused.message.contains("nearly full"),
        "{}",
        refused.message
    );
    assert_eq!(
        blobs.chunk(MINE, UPLOAD, 0).await.err().unwrap().kind,
        Kind::Unavailable
    );
    assert!(blobs.probe().await.is_err());
    assert_eq!(blobs.read(MINE, &blob.digest, 10).await.unwrap(), "hello");
    blobs.delete(MINE, &blob.digest).await.unwrap();
    assert!(!blobs.exists(MINE, &blob.digest).await.unwrap());
}

#[tokio::test]
async fn nothing_is_added_to_an_upload_that_is_whole() {
    let place = Place::folder().await;
    let blobs = &place.blobs;
    blobs
        .put_part(MINE, UPLOAD, 0, Bytes::from_static(b"good"))
        .await
        .unwrap();
    let blob = blobs.join(MINE, UPLOAD, 4).await.unwrap();
    let late = blobs
        .put_part(MINE, UPLOAD, 0, Bytes::from_static(b"evil"))
        .await;
    assert_eq!(late.unwrap_err().kind, Kind::Conflict);
    assert_eq!(blobs.read(MINE, &blob.digest, 10).await.unwrap(), "good");
}

#[tokio::test]
async fn nobody_else_reads_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::folder().await;
    let mut staging = place.blobs.stage(MINE).await.unwrap();
    staging.write(Bytes::from_static(b"hello")).await.unwrap();
    staging.finish().await.unwrap();
    place
        .blobs
        .put_part(MINE, UPLOAD, 0, Bytes::from_static(b"x"))
        .await
        .unwrap();
    let files = files_below(place.folder.path());
    assert_eq!(files.len(), 2);
    for file in files {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
        let mode = fs::metadata(file.parent().unwrap())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0);
    }
}

#[tokio::test]
async fn a_chunk_that_leaves_a_gap_is_refused() {
    let place = Place::folder().await;
    let blobs = &place.blobs;
    let early = blobs
        .put_part(MINE, UPLOAD, 5, Bytes::from_static(b"56789"))
        .await;
    let early = early.unwrap_err();
    assert_eq!(early.kind, Kind::Conflict);
    assert!(early.message.contains("has 0 bytes"), "{}", early.message);
}
