//! Backups: what an archive is, how one is written while it is being sent, and how one is read without being believed.
//!
//! An archive is a tar of plain files, then `manifest.json`, which lists all of them with length and SHA-256, and then
//! `manifest.sig`, with which the server that made it recognises it. The manifest comes last because an archive is
//! written while the server runs, in one go and without room for all of it: what a file holds is known once it has been
//! sent. So an archive without its last two entries was cut short, and says nothing.
//!
//! This crate knows nothing of databases or services. Who makes a backup lays the files out ([`Writer`]); who restores
//! one gets them in an empty folder, complete and as they were ([`unpack`]), or gets an error that says what is wrong.

mod error;
pub mod export;
mod folder;
mod manifest;
mod read;
mod write;

pub use error::{Error, Result};
pub use folder::{Staging, is_plain_path};
pub use manifest::{
    Contents, Counts, FileRecord, InstanceRecord, Kind, MANIFEST_BYTES_MAX, Manifest,
};
pub use read::{Bounds, Origin, Unpacked, check, room_for_a_guest, unpack};
pub use write::Writer;

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The context in which private files of the server itself are sealed inside an archive.
pub fn file_context(path: &str) -> String {
    format!("backup file {path}")
}
