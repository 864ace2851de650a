//! The nouns of Pilvi: ids, names, times, objects, queries and errors. No I/O and no async.
//!
//! Parse at the edge, trust inside: whoever holds an [`ObjectType`] or a [`query::Filter`] need not check it
//! again. The rules of Enginio Data Storage's query language live in [`query`]; its evaluator is the
//! specification that every SQL dialect is held to.

pub mod access;
pub mod app;
pub mod blob;
pub mod content_range;
pub mod error;
pub mod file;
pub mod id;
pub mod instance;
pub mod object;
pub mod object_type;
pub mod query;
pub mod schema;
pub mod search;
pub mod timestamp;
pub mod update;
pub mod variant;
pub mod wrapper;

pub use access::{AccessChange, AccessList, Asker, Permission, Readers, Subject};
pub use app::AppId;
pub use blob::{Blob, Digest};
pub use content_range::ContentRange;
pub use error::{Error, FieldError, Kind, Result};
pub use file::{ContentType, FileName, FileTarget, UploadNote};
pub use id::{AccountId, BackendId, GatewayId, ObjectId, PersonId, RequestId, WebhookId};
pub use instance::{Instance, Provider};
pub use object::{Object, Properties, Writers};
pub use object_type::ObjectType;
pub use timestamp::Timestamp;
