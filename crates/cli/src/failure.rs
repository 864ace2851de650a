//! How a command fails: what happened, what to try next, and an exit code that scripts can rely on.

/// A command ends with an exit code of its own, which is 0 for all but `exec`, or fails.
pub(crate) type Outcome = Result<u8>;
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What the exit code tells a script. These numbers do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Nothing failed: whoever read our output has seen enough and closed it.
    NobodyReads = 0,
    /// What has no number of its own.
    Failed = 1,
    /// The command line cannot be meant so.
    Usage = 2,
    /// There is no token, or the server refuses it.
    Denied = 3,
    /// The server knows no such thing.
    NotFound = 4,
    /// The server understood and refuses, because of the values or of the state it is in.
    Refused = 5,
    /// The server does not answer, or not in time.
    Unreachable = 6,
    /// The token is good, but not for this.
    Forbidden = 7,
}

/// The same for people. It stands at the end of the help.
pub(crate) const CODES: &str = "\
Exit codes:
  0  done
  1  failed in a way that has no number of its own
  2  the command line cannot be meant so
  3  there is no token, or the server refuses it
  4  the server knows no such thing
  5  the server refuses: the values, or the state that something is in
  6  the server does not answer, or not in time
  7  the token is good, but not for this
`exec` ends with the exit code of its command.";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// What happened, without a full stop.
    pub(crate) what: String,
    /// What to try, without a full stop.
    pub(crate) next: String,
    /// The server's own word for it, such as `Conflict`; empty where it was not the server that refused.
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn new(code: Code, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            next: next.into(),
            reason: String::new(),
        }
    }

    pub(crate) fn failed(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Code::Failed, what, next)
    }

    pub(crate) fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Code::Usage, what, next)
    }

    /// Names a better next thing than the general one, where the failure is of this kind.
    #[must_use]
    pub(crate) fn on(self, code: Code, next: impl Into<String>) -> Self {
        if self.code == code {
            Self {
                next: next.into(),
                ..self
            }
        } else {
            self
        }
    }
}

/// Standard output can fail in two ways: nobody reads it any more, which is no fault, or its disk is full.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(Code::NobodyReads, "", "");
        }
        Self::failed(
            format!("the result could not be printed: {error}"),
            "see where standard output goes; its disk may be full",
        )
    }
}
