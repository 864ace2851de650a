//! Files: taking them in, in one go or in pieces, and what they look like (`eds.md` §10). What they belong to and who
//! may have them is decided by the store; the bytes are kept in `pilvi_blobs`.

mod chunks;
pub mod multipart;
mod shown;
mod turns;
mod upload;

use std::time::Duration;

use pilvi_base::Turnstile;
use pilvi_base::turnstile::{NoTurn, Shares, Turn};
use pilvi_model::file::FILE_PROPERTIES;
use pilvi_model::{
    AccountId, ContentType, Error, FileName, ObjectId, ObjectType, Properties, Result,
};
use pilvi_store::backend::{Mutation, Written};
use serde_json::Value;

use crate::Eds;
use crate::caller::Caller;

pub(crate) use shown::Shown;
use turns::Turns;
pub(crate) use upload::of_the_body;

/// How large a file may be unless somebody said otherwise.
const BYTES_MAX: u64 = 1 << 30;
/// What a multipart body may have beside the file: its heads, the other parts, boundaries.
const WRAPPING_BYTES_MAX: u64 = 256 << 10;
/// What comes along with a file, as JSON.
pub(crate) const NOTE_BYTES_MAX: usize = 64 << 10;

/// Uploads under way: each holds some memory, a descriptor, and a file that is not one yet. They are shared out among
/// accounts, because one account may have any number of backends.
const SHARES: Shares = Shares {
    at_once: 144,
    each: 24,
    waiting: 256,
    patience: Duration::from_secs(20),
};

/// What all uploads share.
#[derive(Debug)]
pub(crate) struct Uploads {
    bytes_max: u64,
    shares: Turnstile<AccountId>,
    turns: Turns,
}

impl Uploads {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            shares: Turnstile::new(SHARES),
            turns: Turns::default(),
        }
    }

    /// How large a request may be on this path.
    pub(crate) fn body_bytes_max(bytes_max: u64, path: &str) -> Option<usize> {
        let bytes = match path.strip_prefix("/v1/files")? {
            "" => bytes_max.saturating_add(WRAPPING_BYTES_MAX),
            rest if rest.ends_with("/chunk") => bytes_max,
            _ => return None,
        };
        Some(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// A place for an upload, for which it waits in the line of its account.
    async fn enter(&self, account: AccountId) -> Result<Turn<AccountId>> {
        self.shares.enter(&account).await.map_err(|fault| {
            Error::unavailable(match fault {
                NoTurn::LineIsFull => {
                    "too many files are being uploaded to backends of this account; try again in a minute"
                }
                NoTurn::TookTooLong => {
                    "this server is taking in as many files as it can; try again in a minute"
                }
            })
        })
    }

    fn check_size(&self, bytes: u64) -> Result<()> {
        match bytes > self.bytes_max {
            true => Err(Error::too_large(format!(
                "a file on this server has at most {} bytes",
                self.bytes_max
            ))),
            false => Ok(()),
        }
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

impl Eds {
    /// Changes what people say of a file: its name, its content type, their own properties. What follows from its bytes
    /// and its place is not theirs to say, and not heard.
    pub(crate) async fn update_file(
        &self,
        caller: &Caller,
        id: ObjectId,
        body: Value,
    ) -> Result<Written> {
        let mut changes = Properties::from_json(body)?.into_map();
        for name in FILE_PROPERTIES {
            changes.shift_remove(name);
        }
        if let Some(name) = changes.get_mut("fileName") {
            let Some(text) = name.as_str() else {
                return Err(Error::invalid("fileName", "must be a text"));
            };
            *name = FileName::clean(text).as_str().into();
        }
        if let Some(said) = changes.get_mut("contentType") {
            let known = said.as_str().and_then(ContentType::parse);
            let known = known.ok_or_else(|| {
                Error::invalid("contentType", "must be a content type, such as image/png")
            })?;
            *said = known.as_str().into();
        }
        let mutation = Mutation::Update {
            object_type: ObjectType::files(),
            id,
            changes: Properties::from_json(Value::Object(changes))?,
        };
        self.write(caller, mutation).await
    }

    /// After a file became whole: whoever is to hear of it, and whoever makes something of it.
    fn took_in(&self, caller: &Caller, written: Written) -> Written {
        let written = self.published(caller, written);
        self.0.variants.wake(caller.backend.id);
        written
    }
}
