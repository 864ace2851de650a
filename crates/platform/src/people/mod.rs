//! How persons come in: sign-up, sign-in, passwords, sessions, and the mails that go with them.
//!
//! Nobody learns from an answer, or from the time it takes, whether an address is somebody's: what depends on that is
//! written in a mail, and the mail is made after the answer.
//!
//! An address that nobody has proven to be theirs makes no person. A sign-up waits beside the persons until somebody
//! brings both its code, which only the owner of the address can read, and its password, which only whoever signed up
//! knows. So nobody can take a stranger's address in advance, nor keep its owner from signing up.

mod mails;
mod passwords;
mod profile;
mod routes;
mod sessions;
mod sign_in;
mod sign_up;

use std::sync::Arc;
use std::time::Duration;

use pilvi_base::Clock;
use pilvi_core::Passwords;
use pilvi_core::throttle::{LOGINS, Patience, Rules, Throttle};
use tokio::sync::Semaphore;

pub(crate) use mails::Letter;
pub(crate) use mails::one_line;
pub use profile::{PersonChange, Renewal};
pub(crate) use routes::routes;
pub(crate) use sign_in::WRONG;
pub use sign_in::{SignInDraft, SignInFailure};
pub use sign_up::SignUpDraft;

/// Who may become a person by signing up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Nobody: operators make persons.
    Closed,
    /// Who is invited to an account.
    #[default]
    Invited,
    /// Everybody with an e-mail address.
    Open,
}

/// What signing in and mailing need beside the store.
#[derive(Debug)]
pub(crate) struct People {
    passwords: Passwords,
    logins: Throttle,
    /// Counts requests for mail.
    mails: Throttle,
    /// Requests for mail that are looked into at the same moment.
    mailing: Arc<Semaphore>,
}

const MAILING_MAX: usize = 64;

/// How often somebody may ask for mail. Every request counts, because each may send one.
const MAILS: Rules = Rules {
    pair: Patience {
        failures: 5,
        forgotten: Duration::from_secs(600),
    },
    pair_under_attack: 1,
    peer: Patience {
        failures: 100,
        forgotten: Duration::from_secs(60),
    },
    name: Patience {
        failures: 20,
        forgotten: Duration::from_secs(600),
    },
};

impl People {
    pub(crate) fn new(passwords: Passwords, clock: &Clock) -> Self {
        Self {
            passwords,
            logins: Throttle::new(LOGINS, clock.clone()),
            mails: Throttle::new(MAILS, clock.clone()),
            mailing: Arc::new(Semaphore::new(MAILING_MAX)),
        }
    }
}
