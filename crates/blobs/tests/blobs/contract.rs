//! One suite for both places: what holds for blobs in a folder holds for those in a bucket.

use bytes::Bytes;
use futures_util::TryStreamExt;
use pilvi_base::secret::sha256;
use pilvi_blobs::{Blob, Blobs, Digest, UploadId, Usage};
use pilvi_model::{BackendId, Kind, ObjectId};

use crate::places::{Place, files_below};

const MINE: BackendId = ObjectId::from_bytes([1; 12]);
const THEIRS: BackendId = ObjectId::from_bytes([2; 12]);
const UPLOAD: UploadId = ObjectId::from_bytes([3; 12]);

/// Bytes that are not the same everywhere.
fn content(length: usize) -> Bytes {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect::<Vec<_>>().into()
}

async fn put(blobs: &Blobs, backend: BackendId, bytes: &Bytes, piece: usize) -> Blob {
    let mut staging = blobs.stage(backend).await.unwrap();
    for piece in bytes.chunks(piece.max(1)) {
        staging.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    staging.finish().await.unwrap()
}

async fn read(
    blobs: &Blobs,
    backend: BackendId,
    digest: &Digest,
    range: std::ops::Range<u64>,
) -> Vec<u8> {
    let stream = blobs.open(backend, digest, range).await.unwrap();
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    pieces.concat()
}

macro_rules! in_both_places {
    ($($name:ident)*) => {
        mod folder {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::folder().await).await;
            })*
        }
        mod bucket {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::bucket().await).await;
            })*
        }
    };
}

in_both_places! {
    a_blob_is_called_after_its_bytes_and_comes_back
    a_part_of_a_blob_can_be_read
    backends_share_nothing
    what_is_dropped_is_gone
    blobs_are_listed_and_counted
    chunks_become_a_blob
    a_chunk_that_was_not_acknowledged_is_sent_again
    an_upload_with_a_gap_is_no_blob
    a_blob_that_is_too_large_is_not_read_into_memory
    a_blob_becomes_a_file_and_a_file_a_blob
    blobs_are_shared_with_the_backend_that_takes_a_place
}

async fn a_blob_is_called_after_its_bytes_and_comes_back(place: Place) {
    place.blobs.probe().await.unwrap();
    // Nothing, less than a block, pieces of all sizes, and more than one part of a bucket.
    for (length, piece) in [
        (0, 1),
        (5, 1),
        (100_000, 7),
        (700_000, 65_536),
        (9 << 20, 1 << 20),
    ] {
        let bytes = content(length);
        let blob = put(&place.blobs, MINE, &bytes, piece).await;
        assert_eq!(blob.digest.as_bytes(), &sha256(&bytes));
        assert_eq!(blob.bytes, length as u64);
        // Twice is once.
        assert_eq!(put(&place.blobs, MINE, &bytes, piece).await, blob);
        assert!(read(&place.blobs, MINE, &blob.digest, 0..u64::MAX).await == bytes);
        let size = place.blobs.size(MINE, &blob.digest).await.unwrap();
        assert_eq!(size, Some(length as u64));
    }
    let leftovers = files_below(&place.folder.path().join("files/drafts")).len()
        + files_below(&place.folder.path().join("drafts")).len();
    assert_eq!(leftovers, 0);
}

async fn a_part_of_a_blob_can_be_read(place: Place) {
    let bytes = content(600_000);
    let blob = put(&place.blobs, MINE, &bytes, 100_000).await;
    for (range, found) in [
        (0..1, 0..1),
        (0..0, 0..0),
        (299_999..300_001, 299_999..300_001),
        (1..600_000, 1..600_000),
        (599_999..u64::MAX, 599_999..600_000),
        (600_000..u64::MAX, 600_000..600_000),
        (700_000..800_000, 600_000..600_000),
    ] {
        let stream = place
            .blobs
            .open(MINE, &blob.digest, range.clone())
            .await
            .unwrap();
        assert_eq!(stream.blob_bytes(), 600_000, "{range:?}");
        assert_eq!(
            stream.range().end - stream.range().start,
            found.end - found.start,
            "{range:?}"
        );
        let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
        let (start, end) = (found.start as usize, found.end as usize);
        assert!(pieces.concat() == bytes[start..end], "{range:?}");
    }
}

async fn backends_share_nothing(place: Place) {
    let bytes = content(1000);
    let blob = put(&place.blobs, MINE, &bytes, 1000).await;
    assert!(!place.blobs.exists(THEIRS, &blob.digest).await.unwrap());
    let hidden = place.blobs.open(THEIRS, &blob.digest, 0..u64::MAX).await;
    assert_eq!(hidden.err().unwrap().kind, Kind::NotFound);

    assert_eq!(put(&place.blobs, THEIRS, &bytes, 1000).await, blob);
    let mut backends = place.blobs.backends().await.unwrap();
    backends.sort();
    assert_eq!(backends, [MINE, THEIRS]);
    place.blobs.delete(THEIRS, &blob.digest).await.unwrap();
    place.blobs.delete(THEIRS, &blob.digest).await.unwrap();
    assert!(!place.blobs.exists(THEIRS, &blob.digest).await.unwrap());
    assert!(place.blobs.exists(MINE, &blob.digest).await.unwrap());

    put(&place.blobs, THEIRS, &bytes, 1000).await;
    place
        .blobs
        .put_part(THEIRS, UPLOAD, 0, bytes)
        .await
        .unwrap();
    place.blobs.delete_backend(THEIRS).await.unwrap();
    place.blobs.delete_backend(THEIRS).await.unwrap();
    assert!(!place.blobs.exists(THEIRS, &blob.digest).await.unwrap());
    assert_eq!(place.blobs.upload_size(THEIRS, UPLOAD).await.unwrap(), 0);
    assert!(place.blobs.exists(MINE, &blob.digest).await.unwrap());
}

async fn what_is_dropped_is_gone(place: Place) {
    let mut staging = place.blobs.stage(MINE).await.unwrap();
    for _ in 0..20 {
        staging.write(content(100_000)).await.unwrap();
    }
    drop(staging);
    let found: Vec<_> = place.blobs.list(MINE).try_collect().await.unwrap();
    assert_eq!(found, []);
    // The last block may still be on its way to the draft, which goes when it is there.
    let drafts = || {
        files_below(&place.folder.path().join("files/drafts")).len()
            + files_below(&place.folder.path().join("drafts")).len()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while drafts() > 0 {
        assert!(std::time::Instant::now() < deadline, "a draft stays behind");
        tokio::task::yield_now().await;
    }
}

async fn blobs_are_listed_and_counted(place: Place) {
    let mut digests = Vec::new();
    for length in 1..=40 {
        digests.push(put(&place.blobs, MINE, &content(length), 100).await);
    }
    put(&place.blobs, THEIRS, &content(50), 100).await;
    place
        .blobs
        .put_part(MINE, UPLOAD, 0, content(60))
        .await
        .unwrap();
    digests.sort_by_key(|blob| blob.digest);
    let listed: Vec<_> = place.blobs.list(MINE).try_collect().await.unwrap();
    let found: Vec<_> = listed.iter().map(|listed| listed.blob).collect();
    assert_eq!(found, digests);
    assert!(
        listed
            .iter()
            .all(|listed| listed.written_at.as_millis() > 0)
    );
    let usage = Usage {
        blobs: 40,
        bytes: (1..=40).sum(),
    };
    assert_eq!(place.blobs.usage(MINE).await.unwrap(), usage);
    assert_eq!(place.blobs.uploads(MINE).await.unwrap(), [UPLOAD]);
    assert_eq!(place.blobs.uploads(THEIRS).await.unwrap(), []);
}

async fn chunks_become_a_blob(place: Place) {
    let bytes = content(1_500_000);
    let blobs = &place.blobs;
    let mut at = 0;
    for length in [1, 4096, 700_000, 1_500_000 - 704_097] {
        assert_eq!(blobs.upload_size(MINE, UPLOAD).await.unwrap(), at as u64);
        let mut chunk = blobs.chunk(MINE, UPLOAD, at as u64).await.unwrap();
        for piece in bytes[at..at + length].chunks(50_000) {
            chunk.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        at += length;
        assert_eq!(chunk.finish().await.unwrap(), at as u64);
    }
    let blob = blobs.join(MINE, UPLOAD, 1_500_000).await.unwrap();
    assert_eq!(blob.digest.as_bytes(), &sha256(&bytes));
    // As after a crash before the row was written.
    assert_eq!(blobs.join(MINE, UPLOAD, 1_500_000).await.unwrap(), blob);
    assert!(read(blobs, MINE, &blob.digest, 0..u64::MAX).await == bytes);
    blobs.drop_upload(MINE, UPLOAD).await.unwrap();
    blobs.drop_upload(MINE, UPLOAD).await.unwrap();
    assert_eq!(blobs.uploads(MINE).await.unwrap(), []);
    assert!(read(blobs, MINE, &blob.digest, 0..u64::MAX).await == bytes);
    assert!(blobs.join(MINE, UPLOAD, 1_500_000).await.is_err());
}

async fn a_chunk_that_was_not_acknowledged_is_sent_again(place: Place) {
    let bytes = content(3_000);
    let blobs = &place.blobs;
    let part = |range: std::ops::Range<usize>| bytes.slice(range);
    blobs
        .put_part(MINE, UPLOAD, 0, part(0..1000))
        .await
        .unwrap();
    // Somebody sent other bytes, more of them, and was cut off before they heard of it.
    blobs
        .put_part(MINE, UPLOAD, 1000, content(2_500))
        .await
        .unwrap();
    blobs
        .put_part(MINE, UPLOAD, 1000, part(1000..2500))
        .await
        .unwrap();
    blobs
        .put_part(MINE, UPLOAD, 2500, part(2500..3000))
        .await
        .unwrap();
    let blob = blobs.join(MINE, UPLOAD, 3000).await.unwrap();
    assert_eq!(blob.digest.as_bytes(), &sha256(&bytes));
}

async fn an_upload_with_a_gap_is_no_blob(place: Place) {
    let blobs = &place.blobs;
    let nothing = blobs.join(MINE, UPLOAD, 10).await.unwrap_err();
    assert!(
        matches!(nothing.kind, Kind::NotFound | Kind::Conflict),
        "{nothing:?}"
    );
    blobs
        .put_part(MINE, UPLOAD, 0, content(1000))
        .await
        .unwrap();
    let short = blobs.join(MINE, UPLOAD, 1001).await.unwrap_err();
    assert_eq!(short.kind, Kind::Conflict);
    assert!(short.message.contains("1000 of 1001"), "{}", short.message);
}

async fn a_blob_that_is_too_large_is_not_read_into_memory(place: Place) {
    let bytes = content(1000);
    let blob = put(&place.blobs, MINE, &bytes, 1000).await;
    let whole = place.blobs.read(MINE, &blob.digest, 1000).await.unwrap();
    assert_eq!(whole, bytes);
    let refused = place.blobs.read(MINE, &blob.digest, 999).await.unwrap_err();
    assert_eq!(refused.kind, Kind::TooLarge);
}

async fn a_blob_becomes_a_file_and_a_file_a_blob(place: Place) {
    let bytes = content(700_000);
    let blob = put(&place.blobs, MINE, &bytes, 100_000).await;
    let file = place.folder.path().join("laid out");
    place
        .blobs
        .lay_out(MINE, &blob.digest, &file)
        .await
        .unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
    let missing = place.folder.path().join("missing");
    let nothing = place.blobs.lay_out(THEIRS, &blob.digest, &missing).await;
    assert_eq!(nothing.unwrap_err().kind, Kind::NotFound);

    place.blobs.take_in(THEIRS, &file, blob).await.unwrap();
    assert!(read(&place.blobs, THEIRS, &blob.digest, 0..u64::MAX).await == bytes);
    let other = place.folder.path().join("other");
    std::fs::write(&other, b"something else").unwrap();
    let refused = place.blobs.take_in(THEIRS, &other, blob).await.unwrap_err();
    assert_eq!(refused.kind, Kind::BadRequest);
    assert!(read(&place.blobs, THEIRS, &blob.digest, 0..u64::MAX).await == bytes);
    assert_eq!(place.blobs.usage(THEIRS).await.unwrap().blobs, 1);
}

async fn blobs_are_shared_with_the_backend_that_takes_a_place(place: Place) {
    let (one, two) = (content(1000), content(2000));
    let first = put(&place.blobs, MINE, &one, 1000).await;
    let second = put(&place.blobs, MINE, &two, 1000).await;
    put(&place.blobs, THEIRS, &one, 1000).await;
    place.blobs.share(MINE, THEIRS).await.unwrap();
    place.blobs.share(MINE, THEIRS).await.unwrap();
    place.blobs.delete_backend(MINE).await.unwrap();
    for (blob, bytes) in [(first, one), (second, two)] {
        assert!(read(&place.blobs, THEIRS, &blob.digest, 0..u64::MAX).await == bytes);
    }
}
