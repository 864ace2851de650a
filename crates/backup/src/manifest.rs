//! The manifest: what an archive holds, and from where it came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Larger than the manifest of a server with a million files.
pub const MANIFEST_BYTES_MAX: u64 = 320 << 20;

/// What an archive says about itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub format: u32,
    /// The version of Pilvi that wrote it.
    pub version: String,
    /// When it was begun: whatever was acknowledged before is in it.
    pub created_at: String,
    /// Names the key with which its secrets are sealed; see `Keyring::seal_id`.
    pub seal_key: String,
    #[serde(flatten)]
    pub kind: Kind,
    /// In the order in which they come, without the manifest itself.
    pub files: Vec<FileRecord>,
    /// What is in the databases among them, by path.
    pub databases: BTreeMap<String, Counts>,
    /// What a server has and the archive does not, in words.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// What a backup is about.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", content = "of", rename_all = "camelCase")]
pub enum Kind {
    Server(Contents),
    Instance(Box<InstanceRecord>),
}

/// What there is on a server.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Whether the key file is in the archive.
    pub has_key: bool,
    pub instances: u64,
}

/// An instance as its row says it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceRecord {
    pub id: String,
    pub provider: String,
    pub account: String,
    pub name: String,
    pub tags: Vec<String>,
    pub config: Map<String, Value>,
    pub datacenter: String,
    pub created_at: u64,
    /// What its security tokens are derived from, oldest first.
    pub token_generations: Vec<i64>,
}

/// One file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FileRecord {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
    /// Its content is sealed with the server's key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

/// What was counted in a database when it was copied.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Counts {
    pub format: usize,
    /// Rows by table.
    pub tables: BTreeMap<String, u64>,
    /// Objects by type, where there are objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, u64>,
}

impl Manifest {
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub fn file(&self, path: &str) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.path == path)
    }

    /// What the archive is about, for people.
    pub fn title(&self) -> String {
        match &self.kind {
            Kind::Server(contents) => {
                format!("a whole server with {} instances", contents.instances)
            }
            Kind::Instance(instance) => {
                format!(
                    "the {} instance {} ({})",
                    instance.provider, instance.id, instance.name
                )
            }
        }
    }
}
