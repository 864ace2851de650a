//! Archives as they should be, and as somebody who wants to do harm would write them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tar::{Builder, Header};
use tempfile::TempDir;

use super::*;
use crate::manifest::{Contents, Counts, Kind};
use crate::write::Writer;

const BOUNDS: Bounds = Bounds {
    bytes: 1 << 20,
    files: 10,
    manifest_bytes: 64 << 10,
    disk_bytes: u64::MAX,
};

fn keyring() -> Keyring {
    Keyring::from_bytes([7; 32])
}

fn archive() -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.bytes("pilvi.db", &[1; 3000]).unwrap();
    writer.bytes("instances/a/slugs/1.tgz", b"slug").unwrap();
    writer.sealed("ca/key.pem", b"private", &keyring()).unwrap();
    writer.counted(
        "pilvi.db",
        Counts {
            format: 3,
            tables: BTreeMap::from([("persons".to_owned(), 2)]),
            types: BTreeMap::new(),
        },
    );
    let kind = Kind::Server(Contents::default());
    writer
        .finish(kind, "2026-01-01T00:00:00.000Z".to_owned(), &keyring())
        .unwrap();
    out
}

fn refusal(bytes: &[u8]) -> Error {
    let folder = TempDir::new().unwrap();
    let unpacked = unpack(bytes, folder.path(), BOUNDS);
    let checked = check(bytes, BOUNDS)
        .map(|_| ())
        .map_err(|error| error.to_string());
    let error = unpacked.map(|_| ()).unwrap_err();
    // A file and a folder of one name collide on a disk only.
    if !matches!(&error, Error::Damaged(why) if why.contains("lies in") || why.contains("and a folder"))
    {
        assert_eq!(checked.unwrap_err(), error.to_string());
    }
    assert!(error.is_about_the_archive(), "{error:?}");
    error
}

#[test]
fn what_was_written_comes_back() {
    let folder = TempDir::new().unwrap();
    let unpacked = unpack(&*archive(), folder.path(), BOUNDS).unwrap();
    assert_eq!(unpacked.origin(&keyring()), Origin::Ours);
    assert_eq!(
        unpacked.origin(&Keyring::from_bytes([8; 32])),
        Origin::Unknown
    );
    assert_eq!(fs::read(folder.path().join("pilvi.db")).unwrap(), [1; 3000]);
    assert_eq!(
        fs::read(folder.path().join("instances/a/slugs/1.tgz")).unwrap(),
        b"slug"
    );
    let sealed = fs::read(folder.path().join("ca/key.pem")).unwrap();
    let opened = keyring().open_sealed(&crate::file_context("ca/key.pem"), &sealed);
    assert_eq!(opened.unwrap(), b"private");
    assert!(unpacked.manifest.file("ca/key.pem").unwrap().sealed);
    assert_eq!(unpacked.manifest.databases["pilvi.db"].tables["persons"], 2);
    assert!(check(&*archive(), BOUNDS).is_ok());
}

#[test]
fn an_archive_that_was_cut_anywhere_is_refused() {
    let whole = archive();
    // What follows the signature is padding.
    let end = whole.len() - 1024 - (512 - 64);
    for length in (0..end).step_by(97).chain([end - 1]) {
        let error = refusal(&whole[..length]);
        assert!(
            matches!(error, Error::CutShort | Error::NotABackup(_)),
            "{length}: {error:?}"
        );
    }
}

#[test]
fn an_archive_that_was_changed_anywhere_is_refused_or_not_ours() {
    let whole = archive();
    let folder = TempDir::new().unwrap();
    for (round, place) in (0..whole.len() - 1536).step_by(61).enumerate() {
        let mut changed = whole.clone();
        changed[place] ^= 1 << (round % 8);
        let into = folder.path().join(round.to_string());
        fs::create_dir(&into).unwrap();
        if let Ok(unpacked) = unpack(&*changed, &into, BOUNDS) {
            // Owner, time and padding of a header mean nothing.
            let same = unpack(&*whole, &into.join("same"), BOUNDS).unwrap();
            let is_same = unpacked.manifest == same.manifest;
            assert!(
                is_same || unpacked.origin(&keyring()) == Origin::Unknown,
                "{place}"
            );
        }
    }
}

#[test]
fn a_manifest_that_was_made_up_is_not_ours() {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.bytes("pilvi.db", b"mine").unwrap();
    let kind = Kind::Server(Contents::default());
    let other = Keyring::from_bytes([9; 32]);
    writer.finish(kind, String::new(), &other).unwrap();
    assert_eq!(
        check(&*out, BOUNDS).unwrap().origin(&keyring()),
        Origin::Unknown
    );
}

#[test]
fn a_backup_that_was_given_up_says_why() {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.bytes("pilvi.db", b"x").unwrap();
    writer.give_up("the disk is full").unwrap();
    assert!(matches!(refusal(&out), Error::GivenUp(why) if why == "the disk is full"));
}

/// A tar with entries of any kind, named as nobody should.
fn tar_of(entries: &[(&[u8], EntryType, u64, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, size, bytes) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.set_entry_type(*kind);
        header.set_size(*size);
        if kind.is_symlink() {
            header.set_link_name("/etc").unwrap();
        }
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn nothing_but_plain_files_with_plain_names_is_taken() {
    let file = EntryType::Regular;
    for (path, kind) in [
        (&b"../../etc/passwd"[..], file),
        (b"/etc/passwd", file),
        (b"a/../../b", file),
        (b"a\\..\\b", file),
        (b"a\xffb", file),
        (b"a\nb", file),
        (b"link", EntryType::Symlink),
        (b"link", EntryType::Link),
        (b"folder", EntryType::Directory),
        (b"device", EntryType::Char),
        (b"pipe", EntryType::Fifo),
        (b"sparse", EntryType::GNUSparse),
        (b"long", EntryType::GNULongName),
        (b"pax", EntryType::XHeader),
        (b"global", EntryType::XGlobalHeader),
    ] {
        let error = refusal(&tar_of(&[(path, kind, 1, b"x")]));
        assert!(matches!(error, Error::NotABackup(_)), "{path:?}: {error:?}");
    }
}

#[test]
fn a_link_does_not_lead_the_next_file_astray() {
    let outside = TempDir::new().unwrap();
    let bytes = tar_of(&[
        (b"a", EntryType::Symlink, 0, b""),
        (b"a/passwd", EntryType::Regular, 1, b"x"),
    ]);
    let folder = outside.path().join("in");
    fs::create_dir(&folder).unwrap();
    assert!(unpack(&*bytes, &folder, BOUNDS).is_err());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn names_that_collide_are_refused() {
    let file = EntryType::Regular;
    for entries in [
        [(&b"a"[..], file, 1, &b"x"[..]), (b"a", file, 1, b"y")],
        [(b"a", file, 1, b"x"), (b"a/b", file, 1, b"y")],
        [(b"a/b", file, 1, b"x"), (b"a", file, 1, b"y")],
    ] {
        assert!(matches!(refusal(&tar_of(&entries)), Error::Damaged(_)));
    }
}

#[test]
fn lengths_and_numbers_are_bounded() {
    let file = EntryType::Regular;
    for size in [(1 << 20) + 1, 1 << 40, u64::MAX / 2, u64::MAX] {
        let error = refusal(&tar_of(&[(b"bomb", file, size, b"x")]));
        assert!(
            matches!(error, Error::TooLarge(_) | Error::NotABackup(_)),
            "{size}: {error:?}"
        );
    }
    let names: Vec<String> = (0..11).map(|number| format!("f{number}")).collect();
    let many: Vec<_> = names
        .iter()
        .map(|name| (name.as_bytes(), file, 1, &b"x"[..]))
        .collect();
    assert!(matches!(refusal(&tar_of(&many)), Error::TooLarge(_)));
    for size in [BOUNDS.manifest_bytes + 1, 1 << 40] {
        let manifest = tar_of(&[(MANIFEST.as_bytes(), file, size, b"{}")]);
        assert!(matches!(refusal(&manifest), Error::TooLarge(_)));
    }
}

#[test]
fn nobody_takes_more_of_the_disk_than_their_share() {
    let (whole, folder) = (archive(), TempDir::new().unwrap());
    let bounds = Bounds {
        disk_bytes: 3000,
        ..BOUNDS
    };
    let refused = unpack(&*whole, folder.path(), bounds).unwrap_err();
    assert!(matches!(refused, Error::DiskLow { .. }), "{refused:?}");
    assert!(check(&*whole, bounds).is_ok(), "it takes nothing");
}

#[test]
fn a_newer_format_is_named() {
    let file = EntryType::Regular;
    let text = br#"{"format": 99, "shape": "unknown"}"#;
    let bytes = tar_of(&[
        (MANIFEST.as_bytes(), file, text.len() as u64, text),
        (SIGNATURE.as_bytes(), file, 2, b"00"),
    ]);
    assert!(matches!(
        refusal(&bytes),
        Error::TooNew {
            found: 99,
            known: FORMAT
        }
    ));
}

#[test]
fn what_is_no_archive_at_all_is_refused() {
    for bytes in [&b""[..], b"hello", &[0; 4096], &[0xff; 4096]] {
        refusal(bytes);
    }
}

#[test]
fn what_is_no_archive_is_not_repeated() {
    let words = refusal(&[b'q'; 4096]).to_string();
    assert!(words.contains("cannot be read as a tar file"), "{words}");
    assert!(!words.contains("qqq"), "{words}");
}

proptest! {
    #[test]
    fn no_bytes_bring_the_reader_down(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = check(&*bytes, BOUNDS);
    }

    #[test]
    fn nor_does_a_changed_archive(changes in prop::collection::vec((0usize..1 << 16, any::<u8>()), 1..8)) {
        let mut bytes = archive();
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        let _ = check(&*bytes, BOUNDS);
    }
}
