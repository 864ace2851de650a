//! Addresses under which the bytes of a file are there for a while, for whoever has one (`eds.md` §10.4).
//!
//! An address is asked for by somebody who may read the file, and is then good for everybody: browsers, and clients
//! that send no header of ours. What it opens is sealed into it, so nothing is kept of it, and it cannot be changed
//! into one for another file.

pub(crate) mod disposition;
pub(crate) mod range;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use pilvi_blobs::{Blob, BlobStream};
use pilvi_model::{Asker, BackendId, Error, Kind, ObjectId, Provider, Result, Timestamp};
use pilvi_store::Backend;
use pilvi_store::backend::{Variant, VariantState, WholeFile};
use pilvi_web::Refusal;

use crate::Eds;
use crate::caller::Caller;

/// How long an address is good, at least.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Addresses end at full five minutes, so that whoever asks twice gets the same one, and a cache can serve it.
const STEP_SECONDS: u64 = 5 * 60;
/// What the keyring signs.
const PURPOSE: &str = "download";
const TAG_BYTES: usize = 32;
/// More than any token has.
const TOKEN_CHARS_MAX: usize = 512;

/// An address, and until when it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expiring {
    pub url: String,
    pub until: Timestamp,
}

/// What an address gives.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub backend: BackendId,
    pub blob: Blob,
    pub name: String,
    pub content_type: String,
    pub until: Timestamp,
}

/// What an address opens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ticket {
    file: ObjectId,
    variant: Option<String>,
    /// In seconds since 1970.
    until: u32,
}

impl Eds {
    /// An address for a file that the caller may read, or for a variant of it. `base` is how the client reaches us.
    pub(crate) async fn download_url(
        &self,
        caller: &Caller,
        id: ObjectId,
        variant: Option<&str>,
        base: &str,
    ) -> Result<Expiring> {
        let backend = &caller.backend;
        let found = backend.find_whole_file(caller.asker.clone(), id).await?;
        let file = match found {
            Some(file) => file,
            None => return Err(self.why_not_whole(caller, id).await?),
        };
        if let Some(name) = variant {
            find_variant(backend, id, name).await?;
        }
        Ok(self.expiring_url(base, backend.id, &file, variant))
    }

    /// The same for a file that is known to be readable.
    pub(crate) fn expiring_url(
        &self,
        base: &str,
        backend: BackendId,
        file: &WholeFile,
        variant: Option<&str>,
    ) -> Expiring {
        let seconds = self.now().plus(LIFETIME).as_millis().div_ceil(1000);
        let seconds = seconds.next_multiple_of(STEP_SECONDS);
        let ticket = Ticket {
            file: file.id,
            variant: variant.map(str::to_owned),
            until: u32::try_from(seconds).unwrap_or(u32::MAX),
        };
        let token = self.seal_ticket(backend, &ticket);
        let name = disposition::as_segment(&file.name);
        Expiring {
            url: format!("{base}/v1/downloads/{backend}/{token}/{name}"),
            until: ticket.until(),
        }
    }

    /// What an address opens, as long as it is good and the file is there.
    pub(crate) async fn find_download(
        &self,
        backend: &str,
        token: &str,
    ) -> Result<Content, Refusal> {
        let gone = || Error::not_found("there is nothing to download at this address any more");
        let id: BackendId = backend.parse().map_err(|_| gone())?;
        let ticket = self.open_ticket(id, token).ok_or_else(|| {
            Error::forbidden(
                "this download address is not one of ours, or was changed; ask for a new one with \
                 GET /v1/files/{id}/download_url",
            )
        })?;
        if ticket.until() <= self.now() {
            let message = "this download address has expired; ask for a new one with \
                           GET /v1/files/{id}/download_url";
            return Err(Refusal::new(StatusCode::GONE, message).with_reason("Expired"));
        }
        let instance = self.0.directory.find(Provider::Eds, backend).await?;
        let instance = instance.ok_or_else(gone)?;
        self.0.fairness.give_way(&instance.id).await?;
        let store = self.0.store.backend(id);
        let file = store.find_whole_file(Asker::Admin, ticket.file).await?;
        let file = file.ok_or_else(gone)?;
        let (blob, content_type) = match &ticket.variant {
            None => (file.blob, file.content_type),
            Some(name) => {
                let image = find_variant(&store, file.id, name).await?;
                (image.blob, image.content_type)
            }
        };
        Ok(Content {
            backend: id,
            blob,
            name: file.name,
            content_type,
            until: ticket.until(),
        })
    }

    /// The bytes of what an address gave.
    pub(crate) async fn open_content(
        &self,
        content: &Content,
        range: std::ops::Range<u64>,
    ) -> Result<BlobStream> {
        let opened = self
            .0
            .blobs
            .open(content.backend, &content.blob.digest, range);
        opened.await.map_err(|error| match error.kind {
            // The row is there, so this is not the caller's doing.
            Kind::NotFound => Error::unavailable(
                "the bytes of this file are missing on the server's disk; its operator can put them back from a copy",
            )
            .caused_by(error),
            _ => error,
        })
    }

    /// Why there is nothing to download of a file: it is not there for the caller, or not whole.
    async fn why_not_whole(&self, caller: &Caller, id: ObjectId) -> Result<Error> {
        let files = pilvi_model::ObjectType::files();
        self.get_object(caller, files, id).await?;
        Ok(Error::not_found(
            "this file is not whole yet; there is nothing to download before its last byte has been sent",
        ))
    }

    fn seal_ticket(&self, backend: BackendId, ticket: &Ticket) -> String {
        let plain = ticket.to_bytes();
        let tag = self.0.keyring.sign(PURPOSE, &signed(backend, &plain));
        URL_SAFE_NO_PAD.encode([&tag[..], &plain].concat())
    }

    fn open_ticket(&self, backend: BackendId, token: &str) -> Option<Ticket> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (tag, plain) = bytes.split_at_checked(TAG_BYTES)?;
        let is_ours = self
            .0
            .keyring
            .is_signed(PURPOSE, &signed(backend, plain), tag);
        is_ours.then(|| Ticket::from_bytes(plain)).flatten()
    }
}

fn signed(backend: BackendId, plain: &[u8]) -> Vec<u8> {
    [&backend.as_bytes()[..], plain].concat()
}

impl Ticket {
    fn until(&self) -> Timestamp {
        Timestamp::from_millis(u64::from(self.until) * 1000)
    }

    /// The file, the time, and the name of the variant, if it is about one.
    fn to_bytes(&self) -> Vec<u8> {
        let variant = self.variant.as_deref().unwrap_or_default();
        let mut bytes = self.file.as_bytes().to_vec();
        bytes.extend(self.until.to_be_bytes());
        bytes.extend(variant.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (file, rest) = bytes.split_first_chunk()?;
        let (until, variant) = rest.split_first_chunk()?;
        let variant = std::str::from_utf8(variant).ok()?;
        Some(Self {
            file: ObjectId::from_bytes(*file),
            variant: (!variant.is_empty()).then(|| variant.to_owned()),
            until: u32::from_be_bytes(*until),
        })
    }
}

/// A variant that is done.
async fn find_variant(
    backend: &Backend,
    file: ObjectId,
    name: &str,
) -> Result<pilvi_store::backend::Image> {
    let found = backend.find_variant(file, name.to_owned()).await?;
    let shown: String = name.chars().take(100).collect();
    let missing = |what: String| Error::not_found(what);
    match found {
        None => Err(missing(format!("this file has no variant {shown:?}"))),
        Some(Variant {
            image: Some(image), ..
        }) => Ok(image),
        Some(Variant {
            state: VariantState::Failed,
            reason,
            ..
        }) => {
            let reason = reason.unwrap_or_else(|| "it could not be made".to_owned());
            Err(missing(format!(
                "there is no variant {shown:?} of this file: {reason}"
            )))
        }
        Some(_) => Err(missing(format!(
            "the variant {shown:?} of this file is still being made; try again in a moment"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_says_what_it_opens_and_until_when() {
        let file = ObjectId::from_bytes([7; 12]);
        for variant in [
            None,
            Some("thumbnail".to_owned()),
            Some("größer".to_owned()),
        ] {
            let ticket = Ticket {
                file,
                variant,
                until: 1_700_000_000,
            };
            assert_eq!(Ticket::from_bytes(&ticket.to_bytes()), Some(ticket));
        }
        for length in 0..16 {
            assert_eq!(Ticket::from_bytes(&vec![7; length]), None);
        }
        assert_eq!(Ticket::from_bytes(&[0xff; 17]), None);
    }
}
