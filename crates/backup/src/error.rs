//! What can be wrong with an archive.

use std::io;
use std::path::PathBuf;

/// Why an archive was not written or not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not {step} `{}`", path.display())]
    Io {
        step: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the archive could not be read")]
    Unreadable(#[source] io::Error),
    #[error("the archive could not be sent on")]
    Unwritable(#[source] io::Error),
    #[error(
        "the archive ends before its end; it was not copied or not made completely, so take another one"
    )]
    CutShort,
    /// Whoever wrote the archive said so in its place.
    #[error("the backup was given up while it was made: {0}")]
    GivenUp(String),
    #[error("this is no backup: {0}")]
    NotABackup(String),
    #[error("this is no export: {0}")]
    NotAnExport(String),
    #[error("the archive was changed or damaged: {0}")]
    Damaged(String),
    #[error(
        "the archive has format {found}, and this version of Pilvi reads formats up to {known}; use the newer version \
         that made it"
    )]
    TooNew { found: u32, known: u32 },
    #[error("the archive is too large: {0}")]
    TooLarge(String),
    #[error("the disk that holds `{}` is nearly full; make room on it, or choose another folder", path.display())]
    DiskLow { path: PathBuf },
    #[error(
        "the signature of the archive is not one of this server's, although it says that this server made it; \
         somebody changed it"
    )]
    Forged,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(
        step: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskLow { path },
            _ => Self::Io { step, path, source },
        }
    }

    /// Whether the archive itself is at fault, and not this machine.
    pub fn is_about_the_archive(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Unwritable(_) | Self::DiskLow { .. } => false,
            Self::Unreadable(_)
            | Self::CutShort
            | Self::GivenUp(_)
            | Self::NotABackup(_)
            | Self::NotAnExport(_)
            | Self::Damaged(_)
            | Self::TooNew { .. }
            | Self::TooLarge(_)
            | Self::Forged => true,
        }
    }
}
