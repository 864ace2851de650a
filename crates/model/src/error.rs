//! One error for every rule: a kind that programs act on, a message for the caller, a source for the operator.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error. A kind exists only where a program would act differently on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What was sent cannot be read at all: not JSON, an unknown operator, a number that is none.
    BadRequest,
    /// It can be read, and breaks a rule of the named fields.
    Invalid,
    /// Nobody is known behind the request, or the token is wrong.
    Unauthenticated,
    /// The caller is known and may not.
    Forbidden,
    NotFound,
    /// It clashes with what is there already.
    Conflict,
    /// One thing is larger than this server takes.
    TooLarge,
    /// Too many of something: requests, sockets, webhooks.
    OverLimit,
    /// Not now; the same request may succeed later.
    Unavailable,
    /// A fault of ours. The message says nothing; the source is for the log.
    Internal,
}

/// A failed rule or operation.
///
/// The message is for the caller and says what to do; the source never leaves the server.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    /// The fields that break a rule, for [`Kind::Invalid`].
    pub fields: Vec<FieldError>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// One broken rule of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    pub property: String,
    pub message: String,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            fields: Vec::new(),
            source: None,
        }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, message)
    }

    /// One field breaks a rule.
    pub fn invalid(property: impl Into<String>, message: impl Into<String>) -> Self {
        let field = FieldError {
            property: property.into(),
            message: message.into(),
        };
        Self::invalid_fields(vec![field])
    }

    /// Several fields break rules.
    ///
    /// # Panics
    /// When there is none.
    pub fn invalid_fields(fields: Vec<FieldError>) -> Self {
        let first = fields
            .first()
            .expect("an invalid request has an invalid field");
        let message = format!("{} {}", first.property, first.message);
        Self {
            fields,
            ..Self::new(Kind::Invalid, message)
        }
    }

    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(Kind::Unauthenticated, message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(Kind::TooLarge, message)
    }

    pub fn over_limit(message: impl Into<String>) -> Self {
        Self::new(Kind::OverLimit, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// A fault of ours; `source` goes to the log, the caller learns only the request id.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(
            Kind::Internal,
            "something went wrong on the server; its log has the details",
        )
        .caused_by(source)
    }

    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}
