//! The ssh keys of a person: who holds one may push to every app of every account they may deploy to.

use pilvi_git::PublicKey;
use pilvi_model::{Error, PersonId, Result};
use pilvi_store::platform::{NewSshKey, SshKey};

use crate::Platform;
use crate::drafts::Faults;

/// A wished-for key. A missing member is an empty one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SshKeyDraft {
    pub name: String,
    /// The whole text of a public key file.
    pub key: String,
}

impl Platform {
    /// Makes a key known. It opens the SSH door from now on.
    pub async fn create_ssh_key(&self, person: PersonId, draft: SshKeyDraft) -> Result<SshKey> {
        let mut faults = Faults::default();
        faults.check_name(&draft.name);
        let key = match PublicKey::parse(&draft.key) {
            Ok(key) => key,
            Err(error) => return Err(faults.and(error)),
        };
        faults.finish()?;
        let new = NewSshKey {
            person,
            name: draft.name,
            key: key.line,
            fingerprint: key.fingerprint,
            created_at: self.now(),
        };
        let keys_max = self.settings.limits.ssh_keys_per_person;
        self.store.insert_ssh_key(new, keys_max).await
    }

    /// Forgets a key. A push that it began goes on; the next one is refused.
    pub async fn remove_ssh_key(&self, person: PersonId, id: i64) -> Result<()> {
        match self.store.delete_ssh_key(person, id).await? {
            true => Ok(()),
            false => Err(no_such_ssh_key()),
        }
    }
}

pub(crate) fn no_such_ssh_key() -> Error {
    Error::not_found("there is no such ssh key")
}
