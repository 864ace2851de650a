//! The control plane's data, in `pilvi.db`: who there is, what they own, and by which tokens they are known.
//!
//! One file per noun. A method owns its transaction: whatever must hold between two rows is written by one of
//! them. Bounds that count rows are checked in the same transaction that adds one, so that two requests at the
//! same time cannot both take the last place.

mod accounts;
mod app_vars;
mod apps;
mod audit;
mod certificates;
mod credentials;
mod device_codes;
mod domains;
mod files;
mod formation;
mod identities;
mod instances;
mod invitations;
mod known;
mod logins;
mod members;
mod persons;
mod portable;
mod quotas;
mod releases;
mod schema;
mod sealed;
mod sessions;
mod slugs;
mod ssh_keys;
#[cfg(test)]
mod tests;
mod tokens;
mod webhooks;

pub use accounts::{Account, Role};
pub use app_vars::{SealedVar, VarBounds};
pub use apps::{App, Wanted};
pub use audit::{Actor, Event, EventPerson, Log, LogPage, NewEvent, Retention};
pub use certificates::Certificate;
pub use credentials::{CodeBounds, CodePurpose, NewCode, PersonLogin, SignUp};
pub use device_codes::{Decision, DeviceCode, DeviceCodeBounds, DeviceCodeState, NewDeviceCode};
pub use identities::{Admission, LinkedIdentity, NewIdentity, SignedOn};
pub use instances::{DeletedInstance, InstanceChange, InstanceState, Revival};
pub use invitations::{Answered, Invitation, InvitationBounds, NewInvitation};
pub use logins::NewLogin;
pub use members::{Asker, Member};
pub use persons::{FirstRecords, Person};
pub use portable::ImportedApp;
pub use quotas::{Counted, QuotaChange, Quotas, Resource};
pub use releases::{NewRelease, Release, ReleaseState};
pub use sealed::{Resealed, SealedPlace, SealedValue};
pub use sessions::{NewSession, Session, SessionLife};
pub use slugs::{BuiltSlug, NewSlug, Origin, Slug, SlugState};
pub use ssh_keys::{NewSshKey, SshKey};
pub use tokens::{Holder, NewToken, Token};

pub(crate) use known::{KnownHolders, KnownRoles};
pub(crate) use portable::{instances_in, mark_removed, note_webhooks};
pub(crate) use schema::SCHEMA;

use std::fmt::Display;
use std::str::FromStr;

use pilvi_model::app::ProcessTypes;
use pilvi_model::{Error as DomainError, Timestamp};
use rusqlite::types::{FromSql, FromSqlError, ToSql, ToSqlOutput, ValueRef};

/// A column that holds the text of a domain type, such as an id.
struct Text<T>(T);

impl<T: FromStr<Err = DomainError>> FromSql for Text<T> {
    fn column_result(value: ValueRef<'_>) -> Result<Self, FromSqlError> {
        value
            .as_str()?
            .parse()
            .map(Text)
            .map_err(|error: DomainError| FromSqlError::Other(error.into()))
    }
}

impl<T: Display> ToSql for Text<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.to_string().into())
    }
}

/// A column that holds the process types of a release or slug, as a JSON object.
struct Types(ProcessTypes);

impl FromSql for Types {
    fn column_result(value: ValueRef<'_>) -> Result<Self, FromSqlError> {
        let unreadable =
            |error: Box<dyn std::error::Error + Send + Sync>| FromSqlError::Other(error);
        let map =
            serde_json::from_str(value.as_str()?).map_err(|error| unreadable(error.into()))?;
        ProcessTypes::from_json(&map)
            .map(Self)
            .map_err(|error| unreadable(error.into()))
    }
}

/// What [`Types`] reads.
fn types_text(types: &ProcessTypes) -> String {
    serde_json::Value::Object(types.to_json()).to_string()
}

/// A column that holds a moment in milliseconds.
struct Moment(Timestamp);

impl FromSql for Moment {
    fn column_result(value: ValueRef<'_>) -> Result<Self, FromSqlError> {
        let millis = value.as_i64()?;
        let millis = u64::try_from(millis).map_err(|_| FromSqlError::OutOfRange(millis))?;
        Ok(Self(Timestamp::from_millis(millis)))
    }
}

impl ToSql for Moment {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // A timestamp ends with the year 9999, far below the bound of the column.
        Ok(i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX).into())
    }
}
