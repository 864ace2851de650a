//! Who may do what: access lists, and whoever asks (`eds.md` §9).
//!
//! This is the specification. An object has an [`AccessList`] of its own and may inherit those of others; together
//! they are its *effective* list, which [`AccessList::allows`] decides by. Whoever may read is in the effective
//! list's [`Readers`], which a store keeps with each object so that lists and counts need not look at the rest.
//! What a whole collection allows is in [`collection`].

pub mod collection;
mod list;
mod subject;
#[cfg(test)]
mod tests;

use crate::{ObjectId, Result};

pub use collection::{CollectionRights, Extends, MemberRights};
pub use list::{AccessChange, AccessList, Readers};
pub use subject::{Subject, Subjects};

/// What an access list can permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    Read,
    Update,
    Delete,
    /// Everything, and to read and change the access list.
    Admin,
}

impl Permission {
    /// In the order of replies.
    pub const ALL: [Self; 4] = [Self::Read, Self::Update, Self::Delete, Self::Admin];

    /// The key in an access list.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Admin => "admin",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Holds a credential that no access list stops. Nobody is behind it as far as objects are concerned: what it
    /// writes has no creator.
    Admin,
    /// A signed-in user of the backend.
    User {
        id: ObjectId,
        /// The usergroups that the user is a member of.
        groups: Vec<ObjectId>,
    },
    /// Nobody in particular.
    Anonymous,
}

impl Asker {
    /// The user behind the request, who becomes `creator` and `updater` of what it writes.
    pub fn user(&self) -> Option<ObjectId> {
        match self {
            Self::User { id, .. } => Some(*id),
            Self::Admin | Self::Anonymous => None,
        }
    }

    /// Whether no access list stops them.
    pub fn is_admin(&self) -> bool {
        *self == Self::Admin
    }

    /// All subjects that the asker is, the ones that more people are first. An administrator is none: no list is
    /// looked into for them.
    pub fn subjects(&self) -> Vec<Subject> {
        match self {
            Self::Admin => Vec::new(),
            Self::Anonymous => vec![Subject::Everyone],
            Self::User { id, groups } => {
                let mut subjects = vec![
                    Subject::Everyone,
                    Subject::Authenticated,
                    Subject::user(*id),
                ];
                subjects.extend(groups.iter().map(|group| Subject::usergroup(*group)));
                subjects
            }
        }
    }

    /// How to refuse what this asker may not do: whoever is known may not, everybody else might by signing in.
    pub fn refusal(&self, what: &str) -> crate::Error {
        match self {
            Self::Anonymous => crate::Error::unauthenticated(format!(
                "{what} needs a permission that anonymous callers lack; sign in, or send the security token"
            )),
            _ => crate::Error::forbidden(format!("the caller has no permission for {what}")),
        }
    }

    /// For what only administrators do.
    pub fn require_admin(&self) -> Result<()> {
        match self {
            Self::Admin => Ok(()),
            Self::User { .. } => Err(crate::Error::forbidden(
                "this needs the backend's security token; send it as `Authorization: Bearer TOKEN`",
            )),
            Self::Anonymous => Err(crate::Error::unauthenticated(
                "this needs the backend's security token; send it as `Authorization: Bearer TOKEN`",
            )),
        }
    }
}
