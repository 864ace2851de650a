//! What can go wrong between a rule and the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pilvi_model::{Error as DomainError, Kind};
use rusqlite::{ErrorCode, ffi};

/// A failed step of the store. Callers outside this crate see it as a [`pilvi_model::Error`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule was broken inside a transaction; nothing of that operation is kept.
    #[error(transparent)]
    Rule(#[from] DomainError),
    #[error("a database operation failed")]
    Sql(#[from] rusqlite::Error),
    /// The same, and it is known where.
    #[error("an operation on the database `{}` failed", path.display())]
    At {
        path: PathBuf,
        source: rusqlite::Error,
    },
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
    #[error("the database `{}` is missing; put it back from a copy, or delete its instance", path.display())]
    Missing { path: PathBuf },
    /// A file that was made has tables; one without was cut off or put there by somebody.
    #[error("the database `{}` is empty; put it back from a copy, or delete its instance", path.display())]
    Empty { path: PathBuf },
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
    /// The disk is not full yet; what is left is kept for what frees space.
    #[error("the disk that holds `{}` is nearly full; make room on it", path.display())]
    DiskLow { path: PathBuf },
    /// The account that the file belongs to has as much as it may.
    #[error("the database `{}` holds as much as it may", path.display())]
    OverQuota { path: PathBuf, bytes_max: u64 },
    /// The transaction that carried this operation together with others was not committed.
    #[error("the transaction was not committed")]
    NotCommitted(#[source] Arc<Error>),
    /// SQLite gave up the whole transaction because of another operation in it.
    #[error("the transaction was rolled back because of another operation in it: {cause}")]
    RolledBack {
        cause: String,
        code: Option<ffi::Error>,
    },
    #[error("the database threads have stopped")]
    Stopped,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Says which of several operations broke a rule; what is not about a rule is about all of them.
    pub(crate) fn in_operation(self, place: usize) -> Self {
        match self {
            Self::Rule(mut rule) if rule.kind != Kind::Internal => {
                let prefix = format!("operations[{place}]");
                rule.message = format!("{prefix}: {}", rule.message);
                for field in &mut rule.fields {
                    field.message = format!("{} (in {prefix})", field.message);
                }
                Self::Rule(rule)
            }
            other => other,
        }
    }

    fn sqlite(&self) -> Option<ffi::Error> {
        match self {
            Self::Sql(error)
            | Self::At { source: error, .. }
            | Self::Open { source: error, .. } => error.sqlite_error().copied(),
            Self::RolledBack { code, .. } => *code,
            Self::NotCommitted(cause) => cause.sqlite(),
            _ => None,
        }
    }

    /// Says in which file it happened.
    pub(crate) fn at(self, path: &Path) -> Self {
        match self {
            Self::Sql(source) => Self::At {
                path: path.to_owned(),
                source,
            },
            other => other,
        }
    }

    /// What the others in a transaction are told when the fault of one of them made SQLite give it up.
    pub(crate) fn rolled_back_by(fault: Option<&Self>) -> Self {
        let told = |fault: &Self| {
            let cause = std::error::Error::source(fault).map(ToString::to_string);
            cause.unwrap_or_else(|| fault.to_string())
        };
        Self::RolledBack {
            cause: fault.map_or_else(|| "SQLite did not say why".to_owned(), told),
            code: fault.and_then(Self::sqlite),
        }
    }

    /// Whether the connection that met this error may keep failing after its cause is gone, as one does that was
    /// opened while the folder could not be written.
    pub(crate) fn spoils_connection(&self) -> bool {
        let Some(error) = self.sqlite() else {
            return false;
        };
        // A full disk spoils nothing, and a new connection to the file would need space of its own.
        !is_full(error)
            && matches!(
                error.code,
                ErrorCode::ReadOnly
                    | ErrorCode::CannotOpen
                    | ErrorCode::PermissionDenied
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::FileLockingProtocolFailed
            )
    }

    /// Whether a statement was stopped because it took too long.
    pub(crate) fn is_interruption(&self) -> bool {
        self.sqlite()
            .is_some_and(|error| error.code == ErrorCode::OperationInterrupted)
    }

    /// The quota that was reached, if that is why.
    fn quota(&self) -> Option<u64> {
        match self {
            Self::OverQuota { bytes_max, .. } => Some(*bytes_max),
            Self::NotCommitted(cause) => cause.quota(),
            _ => None,
        }
    }

    /// What a caller is told when the same request may succeed later.
    fn excuse(&self) -> Option<&'static str> {
        match self {
            Self::Stopped => return Some("the server is shutting down; try again in a moment"),
            Self::DiskLow { .. } => {
                return Some(
                    "the server's disk is nearly full, so nothing was written; \
                     try again later, or ask the server's operator to make room",
                );
            }
            Self::Missing { .. } => {
                return Some(
                    "this data is missing on the server's disk; its operator can put it back from a copy",
                );
            }
            Self::Empty { .. } => return Some(DAMAGED),
            Self::NotCommitted(cause) => {
                let known = cause.excuse();
                return known.or(Some("the write could not be carried out; try it again"));
            }
            _ => {}
        }
        let error = self.sqlite()?;
        if is_full(error) {
            return Some(
                "the server's disk is full, so nothing was written; \
                 try again later, or ask the server's operator to make room",
            );
        }
        match error.code {
            ErrorCode::ReadOnly => Some(
                "the server cannot write to its data folder, so nothing was written; \
                 try again later, or tell the server's operator",
            ),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Some(
                "the server cannot open this data in its folder; try again later, or tell the server's operator",
            ),
            ErrorCode::SystemIoFailure => Some(
                "the server's disk does not answer as it should, so nothing was written; \
                 try again later, or tell the server's operator",
            ),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(DAMAGED),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Some("the data is being changed by somebody else; try again in a moment")
            }
            _ => None,
        }
    }
}

const DAMAGED: &str =
    "this data is damaged on the server's disk; its operator can put it back from a copy";

/// SQLite says it in two more ways when there is no room for the index that connections share.
fn is_full(error: ffi::Error) -> bool {
    error.code == ErrorCode::DiskFull
        || matches!(
            error.extended_code,
            ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP
        )
}

impl From<Error> for DomainError {
    fn from(error: Error) -> Self {
        let error = match error {
            Error::Rule(rule) => return rule,
            other => other,
        };
        if let Some(bytes_max) = error.quota() {
            return Self::over_limit(format!(
                "this backend holds the {} MB that the quota of its account leaves for it; delete something, or ask \
                 the server's operator for more",
                bytes_max >> 20
            ));
        }
        if error.is_interruption() {
            return Self::bad_request(
                "the query took too long and was stopped; narrow it, for example by a more selective filter",
            );
        }
        match error.excuse() {
            Some(message) => Self::new(Kind::Unavailable, message).caused_by(error),
            None => Self::internal(error),
        }
    }
}
