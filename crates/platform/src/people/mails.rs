//! What is written to people, and the codes in it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pilvi_base::Secret;
use pilvi_base::secret::random_hex;
use pilvi_core::Mail;
use pilvi_core::throttle::Attempt;
use pilvi_model::{Error, Result};
use pilvi_store::platform::{CodeBounds, CodePurpose, NewCode, Person};

use super::SignInFailure;
use crate::Platform;

pub(super) const SIGN_UP_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);
pub(super) const PASSWORD_LIFE: Duration = Duration::from_secs(3600);
pub(super) const EMAIL_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);

const BOUNDS: CodeBounds = CodeBounds {
    codes_max: 5,
    spacing: Duration::from_secs(60),
};

/// Sign-ups are no person's yet: whoever signs up with somebody else's address must not keep its owner from it.
const SIGN_UP_BOUNDS: CodeBounds = CodeBounds {
    codes_max: 20,
    spacing: Duration::from_secs(20),
};

/// A mail to somebody. None repeats what a stranger typed, or it could be made to say anything to anybody.
pub(crate) enum Letter {
    SignUp,
    /// Somebody signed up with an address that is a person's.
    SignUpOfKnown,
    Password,
    PasswordChanged,
    /// By somebody who was signed in.
    PasswordSet,
    /// To the address that was: the login has another from now on.
    EmailChanged {
        email: String,
    },
    /// A provider vouched for the address, and opens the login from now on.
    Linked {
        provider: String,
    },
    /// Who has this login says that an address is theirs.
    Email {
        login: String,
    },
}

impl Platform {
    /// Counts a request for mail.
    pub(super) fn count_mail(&self, attempt: &Attempt) -> Result<(), SignInFailure> {
        self.people.mails.check(attempt)?;
        self.people.mails.failed(attempt);
        Ok(())
    }

    /// Whoever asked is answered before it is known whether there is somebody to write to, so that the time of the
    /// answer does not tell.
    pub(super) fn in_the_background<F, Work>(&self, work: F)
    where
        F: FnOnce(Self) -> Work,
        Work: Future<Output = Result<()>> + Send + 'static,
    {
        let Ok(room) = Arc::clone(&self.people.mailing).try_acquire_owned() else {
            return tracing::warn!("too many mails are being asked for; one is left out");
        };
        let work = work(self.clone());
        self.tasks.spawn("mail to a person", async move {
            if let Err(error) = work.await {
                tracing::error!(%error, "a mail to a person could not be made");
            }
            drop(room);
        });
    }

    /// Makes a code and sends it, unless the address got one a moment ago.
    pub(super) async fn send_code(
        &self,
        email: &str,
        purpose: CodePurpose,
        life: Duration,
        letter: Letter,
    ) -> Result<()> {
        let bounds = match purpose {
            CodePurpose::SignUp { .. } => SIGN_UP_BOUNDS,
            CodePurpose::Password(_) | CodePurpose::Email(_) => BOUNDS,
        };
        let code = Secret::new(random_hex::<16>());
        let now = self.now();
        let new = NewCode {
            digest: code.digest(),
            email: email.to_owned(),
            purpose,
            created_at: now,
            expires_at: now.plus(life),
        };
        if !self.store.insert_code(new, bounds).await? {
            tracing::info!("an address got a code a moment ago; none is sent again");
            return Ok(());
        }
        self.post(email, &letter, Some(&code))
    }

    /// Writes to somebody without a code.
    pub(crate) async fn tell(&self, person: &Person, letter: Letter) -> Result<()> {
        self.post(&person.email, &letter, None)
    }

    fn post(&self, to: &str, letter: &Letter, code: Option<&Secret>) -> Result<()> {
        let code = code.map_or("", Secret::expose);
        let (subject, text) = letter.write(&self.settings.public_url, code);
        let mail = Mail {
            to: to.to_owned(),
            subject,
            text,
        };
        // An address that cannot be written to is for the log: whoever typed it must not learn more than others.
        if let Err(error) = self.mailer.send(mail) {
            tracing::warn!(%error, "a mail to a person was not sent");
        }
        Ok(())
    }
}

pub(super) fn worthless() -> Error {
    Error::invalid(
        "code",
        "is worth nothing: it was used, it is too old, or it is not whole; ask for another",
    )
}

impl Letter {
    /// Subject and text. Codes are in the part of an address that browsers keep to themselves.
    fn write(&self, server: &str, code: &str) -> (String, String) {
        match self {
            Self::SignUp => (
                "Confirm your address".to_owned(),
                format!(
                    "Somebody, probably you, signed up with this address at\n\n    {server}\n\n\
                     To finish, open this page and enter the password that you chose:\n\n    \
                     {server}/console/verify?code={code}\n\n\
                     Or enter this code at {server}/console/verify:\n\n    {code}\n\n\
                     The code holds for three days and serves once. If this was not you, leave this mail:\n\
                     nothing happens without the code.\n"
                ),
            ),
            Self::SignUpOfKnown => (
                "You have a login already".to_owned(),
                format!(
                    "Somebody, probably you, signed up with this address at\n\n    {server}\n\n\
                     You have a login there already. Sign in at\n\n    {server}/console/sign-in\n\n\
                     or, if you do not know the password any more, get another at\n\n    \
                     {server}/console/forgot\n\n\
                     If this was not you, leave this mail: nothing has changed.\n"
                ),
            ),
            Self::Password => (
                "A new password".to_owned(),
                format!(
                    "Somebody, probably you, asked for a new password at\n\n    {server}\n\n\
                     Set it on this page:\n\n    {server}/console/reset?code={code}\n\n\
                     Or enter this code at {server}/console/reset:\n\n    {code}\n\n\
                     The code holds for one hour and serves once. If you did not ask for it, leave this\n\
                     mail: your password stays as it is.\n"
                ),
            ),
            Self::Linked { provider } => (
                "Another way to sign in".to_owned(),
                format!(
                    "Somebody, probably you, signed in at\n\n    {server}\n\nwith an account at {}, which says that \
                     this address is theirs. Whoever has\nthat account can sign in as you from now on.\n\n\
                     If this was not you, unlink it at {server}/console/profile\n",
                    one_line(provider)
                ),
            ),
            Self::PasswordChanged => (
                "Your password was changed".to_owned(),
                format!(
                    "The password of your login at\n\n    {server}\n\nwas set anew with a code from a mail to this \
                     address, and every browser was signed out.\n\n\
                     If somebody else may have used your login, look at {server}/console/profile for\n\
                     tokens, ssh keys and other ways to sign in that are not yours.\n\n\
                     If this was not you, somebody reads your mail. Change the password of your mailbox\n\
                     first, then this one at {server}/console/forgot\n"
                ),
            ),
            Self::PasswordSet => (
                "Your password was changed".to_owned(),
                format!(
                    "Somebody who is signed in as you set another password for your login at\n\n    {server}\n\n\
                     All other browsers were signed out.\n\n\
                     If this was not you, get a password of your own at {server}/console/forgot\n\
                     and delete your tokens there.\n"
                ),
            ),
            Self::EmailChanged { email } => (
                "Your login has another address".to_owned(),
                format!(
                    "The login at\n\n    {server}\n\nthat had this address has another from now on:\n\n    {}\n\n\
                     Whoever reads the mail to that address can set its password. If this was not you, ask\n\
                     the operator of the server at once.\n",
                    one_line(email)
                ),
            ),
            Self::Email { login } => (
                "Is this your address?".to_owned(),
                format!(
                    "Whoever signs in as\n\n    {}\n\nat {server} says that this is their address.\n\n\
                     If that is you, sign in as that and confirm it on this page:\n\n    \
                     {server}/console/verify?code={code}\n\n\
                     Or enter this code at {server}/console/verify:\n\n    {code}\n\n\
                     The code holds for three days and serves once. If it is not you, leave this mail.\n",
                    one_line(login)
                ),
            ),
        }
    }
}

/// A text chosen by somebody, without what would let it pass for more text than a name.
pub(crate) fn one_line(text: &str) -> String {
    let plain = text.chars().map(|letter| match letter.is_control() {
        true => ' ',
        false => letter,
    });
    plain.take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_write_the_mail() {
        assert_eq!(
            one_line("Anna\r\nEnter your\tcode"),
            "Anna  Enter your code"
        );
        assert_eq!(one_line(&"x".repeat(500)).len(), 80);
    }
}
