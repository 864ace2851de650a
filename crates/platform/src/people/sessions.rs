//! Sessions: browsers that a person has signed in with.

use std::net::IpAddr;
use std::time::Duration;

use pilvi_base::Secret;
use pilvi_base::secret::random_hex;
use pilvi_model::{Error, PersonId, Result};
use pilvi_store::platform::{NewSession, Person, Session, SessionLife};

use crate::Platform;

/// A week without use ends a session, a month does in any case.
pub(super) const LIFE: SessionLife = SessionLife {
    idle: Duration::from_secs(7 * 24 * 3600),
    whole: Duration::from_secs(30 * 24 * 3600),
    noted_every: Duration::from_secs(3600),
};

/// So many browsers of one person are remembered.
const SESSIONS_MAX: u32 = 20;
/// As much of a browser's name is kept.
const AGENT_CHARS_MAX: usize = 200;

impl Platform {
    /// How long a browser may keep the secret of a session.
    pub const SESSION_LIFE: Duration = LIFE.whole;

    /// Begins a session, whose secret is for the browser alone. It is a new one at each sign-in, so that whoever
    /// planted a secret in a browser knows nothing.
    pub async fn start_session(
        &self,
        person: PersonId,
        agent: &str,
        peer: IpAddr,
    ) -> Result<(Secret, Session)> {
        let secret = Secret::new(format!("pilvi_ses_{}", random_hex::<20>()));
        let new = NewSession {
            person,
            digest: secret.digest(),
            agent: plain(agent),
            peer: peer.to_canonical().to_string(),
            created_at: self.now(),
        };
        let session = self.store.insert_session(new, SESSIONS_MAX).await?;
        Ok((secret, session))
    }

    /// The session with this secret and whose it is; `None`: there is none, or it has ended.
    pub async fn find_session(&self, secret: &Secret) -> Result<Option<(Session, Person)>> {
        self.store
            .find_session(secret.digest(), LIFE, self.now())
            .await
    }

    /// The person's sessions, the one used last first.
    pub async fn list_sessions(&self, person: PersonId) -> Result<Vec<Session>> {
        self.store.list_sessions(person, LIFE, self.now()).await
    }

    /// Ends one session of the person.
    pub async fn end_session(&self, person: PersonId, id: i64) -> Result<()> {
        match self.store.delete_session(person, id).await? {
            true => Ok(()),
            false => Err(Error::not_found("there is no such session")),
        }
    }

    /// Ends all sessions of the person but one.
    pub async fn end_other_sessions(&self, person: PersonId, kept: Option<i64>) -> Result<()> {
        self.store.delete_other_sessions(person, kept).await
    }
}

/// What a browser calls itself, as it can be shown.
fn plain(agent: &str) -> String {
    let letters = agent.chars().filter(|letter| !letter.is_control());
    letters.take(AGENT_CHARS_MAX).collect()
}
