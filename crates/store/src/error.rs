//! What can go wrong between a rule and the disk.

use std::io;
use std::path::PathBuf;

use pilvi_model::{Error as DomainError, Kind};
use rusqlite::ErrorCode;

/// A failed step of the store. Callers outside this crate see it as a [`pilvi_model::Error`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule was broken inside a transaction; nothing of that operation is kept.
    #[error(transparent)]
    Rule(#[from] DomainError),
    #[error("a database operation failed")]
    Sql(#[from] rusqlite::Error),
    #[error("could not {step} `{}`", path.display())]
    Io {
        step: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("could not open the database `{}`", path.display())]
    Open {
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error(
        "the database `{}` has format {found}, and this version of Pilvi knows formats up to {known}; \
         start the newer version that wrote it", path.display()
    )]
    TooNew {
        path: PathBuf,
        found: usize,
        known: usize,
    },
    #[error("the data folder `{}` is in use by another server; stop it, or choose another folder with --data",
        path.display())]
    InUse { path: PathBuf },
    /// The transaction that carried this operation together with others was not committed.
    #[error("the transaction was not committed: {0}")]
    NotCommitted(String, Option<ErrorCode>),
    #[error("the database threads have stopped")]
    Stopped,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn sqlite_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sql(error) | Self::Open { source: error, .. } => error.sqlite_error_code(),
            Self::NotCommitted(_, code) => *code,
            _ => None,
        }
    }
}

impl From<Error> for DomainError {
    fn from(error: Error) -> Self {
        let message = match error.sqlite_code() {
            _ if matches!(error, Error::Stopped) => {
                "the server is shutting down; try again in a moment"
            }
            Some(ErrorCode::DiskFull) => {
                "the server's disk is full; nothing was written, try again later"
            }
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                "the server cannot write to its data folder; nothing was written, try again later"
            }
            Some(ErrorCode::SystemIoFailure) => {
                "the server's disk does not answer as it should; nothing was written, try again later"
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "the data is being changed by somebody else; try again in a moment"
            }
            Some(ErrorCode::OperationInterrupted) => {
                return Self::bad_request(
                    "the query took too long and was stopped; narrow it, for example by a more selective filter",
                );
            }
            _ if matches!(error, Error::NotCommitted(..)) => {
                "the write could not be carried out; try it again"
            }
            _ => match error {
                Error::Rule(rule) => return rule,
                other => return Self::internal(other),
            },
        };
        Self::new(Kind::Unavailable, message).caused_by(error)
    }
}
