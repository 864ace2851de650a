//! What can go wrong between a file and where it is kept.

use std::io;
use std::path::PathBuf;

use pilvi_model::{Error as DomainError, Kind};

/// A failed step. Callers outside this crate see it as a [`pilvi_model::Error`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("could not {step} `{}`", path.display())]
    Io {
        step: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("could not {step} `{name}` in the bucket")]
    Remote {
        step: &'static str,
        name: String,
        source: object_store::Error,
    },
    #[error("there is no bucket `{0}`; make it, or name another one with --files")]
    NoBucket(String),
    #[error("there is no `{0}`")]
    Missing(String),
    /// The disk is not full yet; what is left is kept for what frees space.
    #[error("the disk that holds `{}` is nearly full; make room on it", path.display())]
    DiskLow { path: PathBuf },
    #[error("the upload has {found} of {wanted} bytes")]
    Short { found: u64, wanted: u64 },
    /// A chunk that begins behind the end of those before it.
    #[error("the upload has {there} bytes")]
    Gap { there: u64 },
    #[error("`{name}` has {found} bytes and may have {max}")]
    TooLarge { name: String, found: u64, max: u64 },
    #[error("`{}` has other bytes than its name says", path.display())]
    Misnamed { path: PathBuf },
    /// Nothing is added to what was put together already.
    #[error("the upload is whole")]
    Whole,
    #[error("a thread that wrote a file was stopped")]
    Stopped,
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err`: names the step and the file.
    pub(crate) fn io(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { step, path, source }
    }

    /// The same for a bucket.
    pub(crate) fn remote(
        step: &'static str,
        name: impl Into<String>,
    ) -> impl FnOnce(object_store::Error) -> Self {
        let name = name.into();
        move |source| match source {
            object_store::Error::NotFound { .. } => Self::Missing(name),
            source => Self::Remote { step, name, source },
        }
    }
}

impl From<Error> for DomainError {
    fn from(error: Error) -> Self {
        let unavailable = |message: &str| Self::new(Kind::Unavailable, message);
        let told = match &error {
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => unavailable(
                    "the server's disk is full, so nothing was written; try again later, or ask the server's \
                     operator to make room",
                ),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => unavailable(
                    "the server cannot use its folder of files; try again later, or tell the server's operator",
                ),
                _ => unavailable(
                    "the server's disk does not answer as it should; try again later, or tell the server's operator",
                ),
            },
            Error::Remote { source, .. } => match source {
                object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. } => unavailable(
                    "the store of files does not let the server in; its operator has to look at the keys of the bucket",
                ),
                _ => unavailable(
                    "the store of files cannot be reached at the moment, so nothing was done; try again in a moment, \
                     or tell the server's operator",
                ),
            },
            Error::NoBucket(_) => unavailable(
                "the store of files has no such bucket; the server's operator has to make it",
            ),
            Error::Missing(_) => Self::not_found("there is no such file content"),
            Error::DiskLow { .. } => unavailable(
                "the server's disk is nearly full, so nothing was written; try again later, or ask the server's \
                 operator to make room",
            ),
            Error::Short { found, wanted } => Self::conflict(format!(
                "the upload has {found} of {wanted} bytes; send the rest first"
            )),
            Error::Gap { there } => Self::conflict(format!(
                "the upload has {there} bytes; go on from there, or begin it again"
            )),
            Error::TooLarge { max, .. } => Self::too_large(format!(
                "the file is larger than the {max} bytes that are read at once"
            )),
            Error::Misnamed { .. } => {
                Self::bad_request("the content of a file is not what its name says")
            }
            Error::Whole => Self::conflict("the upload is whole; nothing can be added to it"),
            Error::Stopped => unavailable("the server is shutting down; try again in a moment"),
        };
        told.caused_by(error)
    }
}
