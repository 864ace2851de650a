//! Mails with vouchers: a new password, and the proof of an address.

use std::net::Ipv4Addr;
use std::time::Duration;

use pilvi_core::Mail;
use pilvi_core::throttle::{Attempt, Patience, Rules};
use pilvi_model::{Error, Result};
use pilvi_store::Backend;
use pilvi_store::backend::{NewVoucher, Purpose, Reachable, Whom};
use pilvi_web::{Refusal, Reply};
use serde_json::Value;

use super::{new_voucher, refusal};
use crate::Eds;
use crate::caller::Tenant;

const PASSWORD_LIFE: Duration = Duration::from_secs(3600);
const EMAIL_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);
/// No user gets mails faster, whoever asks for them.
const SPACING: Duration = Duration::from_secs(120);

/// How often somebody may ask for mail. Every request counts, because each may send one.
pub(crate) const RULES: Rules = Rules {
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

/// How many mails an address gets that nobody has proven to be theirs, whatever users have it: to register users with
/// a stranger's address costs nothing. Only the pair of address and nobody in particular counts.
pub(crate) const LETTER_BOX_RULES: Rules = Rules {
    pair: LETTER_BOX,
    pair_under_attack: LETTER_BOX.failures,
    peer: LETTER_BOX,
    name: LETTER_BOX,
};
const LETTER_BOX: Patience = Patience {
    failures: 10,
    forgotten: Duration::from_secs(300),
};

impl Eds {
    /// `POST /v1/auth/password_reset` with a `username` or an `email`.
    pub(crate) async fn request_password_reset(
        &self,
        tenant: &Tenant,
        body: &Value,
    ) -> Result<Reply, Refusal> {
        let text = |name: &str| {
            let text = body.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let whom = match (text("username"), text("email")) {
            (Some(name), _) => Whom::Username(name),
            (None, Some(address)) => Whom::Email(address),
            (None, None) => {
                let message =
                    "the body must name a user, as {\"username\":\"…\"} or {\"email\":\"…\"}";
                return Err(Error::bad_request(message).into());
            }
        };
        let (Whom::Username(name) | Whom::Email(name)) = &whom else {
            return Err(Error::internal("a reset begins with a name or an address").into());
        };
        self.count(tenant, name)?;
        self.send_in_the_background(&tenant.backend, whom, Purpose::Password);
        Ok(Reply::empty())
    }

    /// `POST /v1/auth/email_verification`, by the user whose address it is.
    pub(crate) async fn request_email_verification(
        &self,
        tenant: &Tenant,
        user: pilvi_model::ObjectId,
    ) -> Result<Reply, Refusal> {
        let whom = Whom::Id(user);
        let found = tenant.backend.find_reachable(whom.clone()).await?;
        match found.first() {
            None => return Err(Error::invalid("email", "can't be blank").into()),
            Some(user) if user.email_verified => return Ok(Reply::empty()),
            Some(_) => {}
        }
        self.count(tenant, &user.to_string())?;
        self.send_in_the_background(&tenant.backend, whom, Purpose::Email);
        Ok(Reply::empty())
    }

    fn count(&self, tenant: &Tenant, name: &str) -> Result<(), Refusal> {
        let attempt = Attempt::new(tenant.backend.id, name, tenant.arrival.peer.ip());
        let mails = &self.0.people.mails;
        mails
            .check(&attempt)
            .map_err(|too_many| refusal(too_many.into()))?;
        mails.failed(&attempt);
        Ok(())
    }

    /// Whoever asked is answered before it is known whether there is somebody to write to, so that the time of the
    /// answer does not tell.
    fn send_in_the_background(&self, backend: &Backend, whom: Whom, purpose: Purpose) {
        let people = &self.0.people;
        let Ok(room) = std::sync::Arc::clone(&people.mailing).try_acquire_owned() else {
            return tracing::warn!("too many mails are being asked for; one is left out");
        };
        let (eds, backend) = (self.clone(), backend.clone());
        people.tasks.spawn("voucher", async move {
            if let Err(error) = eds.send_vouchers(&backend, whom, purpose).await {
                tracing::error!(%error, backend = %backend.id, "a mail for an app's user could not be made");
            }
            drop(room);
        });
    }

    async fn send_vouchers(&self, backend: &Backend, whom: Whom, purpose: Purpose) -> Result<()> {
        let boxes = &self.0.people.letter_boxes;
        for user in backend.find_reachable(whom).await? {
            let address = user.email.trim().to_lowercase();
            // Counted at once, so that of many that come together no more pass.
            let letter_box = Attempt::new(backend.id, &address, Ipv4Addr::UNSPECIFIED.into());
            if !user.email_verified {
                if boxes.check(&letter_box).is_err() {
                    tracing::warn!(
                        backend = %backend.id,
                        user = %user.id,
                        "an address gets too many mails; one is left out"
                    );
                    continue;
                }
                boxes.failed(&letter_box);
            }
            let (voucher, digest) = new_voucher();
            let issue = NewVoucher {
                digest,
                user: user.id,
                purpose,
                life: match purpose {
                    Purpose::Password => PASSWORD_LIFE,
                    Purpose::Email => EMAIL_LIFE,
                },
                spacing: SPACING,
            };
            if !backend.issue_voucher(issue, self.now()).await? {
                continue;
            }
            let mail = self.letter(backend, &user, purpose, &voucher).await?;
            // Anything may stand as an address; where it is none, nobody is written to.
            if let Err(error) = self.0.people.mailer.send(mail) {
                tracing::warn!(%error, backend = %backend.id, user = %user.id, "a mail was not sent");
            }
        }
        Ok(())
    }

    async fn letter(
        &self,
        backend: &Backend,
        user: &Reachable,
        purpose: Purpose,
        voucher: &str,
    ) -> Result<Mail> {
        let id = backend.id.to_string();
        let found = self.0.directory.find_any(&id).await?;
        let app = found.map_or(id, |instance| one_line(&instance.name));
        let name = one_line(&user.username);
        let (subject, text) = match purpose {
            Purpose::Password => (
                format!("{app}: a new password"),
                format!(
                    "Somebody, probably you, asked for a new password for the user\n\n    {name}\n\n\
                     of {app}. Enter this code in the app to set it:\n\n    {voucher}\n\n\
                     The code holds for one hour and serves once. If you did not ask for it,\n\
                     leave this mail: your password stays as it is.\n"
                ),
            ),
            Purpose::Email => (
                format!("{app}: is this your address?"),
                format!(
                    "The user\n\n    {name}\n\nof {app} says that this is their address. If that is you, enter\n\
                     this code in the app:\n\n    {voucher}\n\n\
                     The code holds for three days and serves once. If it is not you, leave this mail.\n"
                ),
            ),
        };
        Ok(Mail {
            to: user.email.clone(),
            subject,
            text,
        })
    }
}

/// A name chosen by somebody, without what would let it pass for more text than a name.
fn one_line(text: &str) -> String {
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
