//! Who the users of an app are, for services other than the one that keeps them.

use std::pin::Pin;

use pilvi_base::Secret;
use pilvi_model::{BackendId, ObjectId, Result};

/// A user of an app, as another service sees one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppUser {
    pub id: ObjectId,
    /// The usergroups that the user is a member of.
    pub groups: Vec<ObjectId>,
}

/// What [`AppUsers::who`] returns.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Option<AppUser>>> + Send + 'a>>;

/// Knows the users of every data backend of this server.
pub trait AppUsers: Send + Sync + 'static {
    /// The user who signed in to `backend` and got `token`; `None`: nobody, or no longer.
    fn who<'a>(&'a self, backend: BackendId, token: &'a Secret) -> Asking<'a>;
}
