//! Invitations: how people come into an account.
//!
//! An owner names an address and a role, and the address gets a mail with a code. Who has the code has the mail, so the
//! code lets in whoever brings it, under whatever address they have a login. Whose login has the address, known to be
//! theirs, needs no code: the invitation waits for them. The code is in the mail and nowhere else; an invitation to the
//! same address again makes a new one.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use pilvi_base::Secret;
use pilvi_base::secret::random_hex;
use pilvi_core::Mail;
use pilvi_model::{AccountId, Error, Result};
use pilvi_store::platform::{
    Account, Answered, Invitation, InvitationBounds, NewInvitation, Person, Role,
};
use pilvi_web::{Body, Reply};
use serde::Serialize;
use serde_json::Value;

use crate::drafts::Faults;
use crate::members::read_role;
use crate::people::one_line;
use crate::routes::{Answer, Asked, show_account};
use crate::wire::{self, Fields, List};
use crate::{Caller, Platform};

const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A wished-for invitation. A missing address is an empty one.
#[derive(Clone, Debug, PartialEq)]
pub struct InvitationDraft {
    pub email: String,
    pub role: Role,
}

/// What the invited person brings.
#[derive(Clone, Debug)]
pub enum InvitationKey {
    /// From the mail.
    Code(Secret),
    /// Of one that waits for them.
    Number(i64),
}

impl From<InvitationKey> for Answered {
    fn from(key: InvitationKey) -> Self {
        match key {
            InvitationKey::Code(code) => Self::ByCode(code.digest()),
            InvitationKey::Number(id) => Self::ByNumber(id),
        }
    }
}

pub(crate) fn routes() -> Router<Platform> {
    Router::new()
        .route(
            "/v1/accounts/{id}/invitations",
            get(list_invitations).post(create_invitation),
        )
        .route(
            "/v1/accounts/{id}/invitations/{invitation}",
            delete(remove_invitation),
        )
        .route(
            "/v1/user/invitations",
            get(list_own_invitations).post(accept_by_code),
        )
        .route(
            "/v1/user/invitations/{invitation}",
            post(accept_by_number).delete(decline_invitation),
        )
}

impl Platform {
    /// Asks somebody to join an account, by mail.
    pub async fn create_invitation(
        &self,
        caller: &Caller,
        account: AccountId,
        draft: InvitationDraft,
    ) -> Result<Invitation> {
        let account = self.get_account_as(Role::Owner, caller, account).await?;
        let mut faults = Faults::default();
        faults.check_email(&draft.email);
        faults.finish()?;
        let inviter = self.store.find_person(caller.person()?).await?;
        let inviter = inviter.ok_or_else(|| Error::not_found("there is no such person"))?;
        let code = Secret::new(random_hex::<16>());
        let now = self.now();
        let new = NewInvitation {
            account: account.id,
            email: draft.email,
            role: draft.role,
            digest: code.digest(),
            invited_by: inviter.id,
            created_at: now,
            expires_at: now.plus(LIFE),
        };
        let invitation = self
            .store
            .insert_invitation(new, self.invitation_bounds())
            .await?;
        let mail = self.letter(&invitation, &account, &inviter, &code);
        if let Err(error) = self.mailer.send(mail) {
            // Without its mail the invitation is worth nothing, and the address may be sent another.
            self.store
                .delete_invitation(account.id, invitation.id)
                .await?;
            return Err(error);
        }
        Ok(invitation)
    }

    /// The invitations to an account that wait for an answer, for its owners.
    pub async fn list_invitations(
        &self,
        caller: &Caller,
        account: AccountId,
    ) -> Result<Vec<Invitation>> {
        self.get_account_as(Role::Owner, caller, account).await?;
        self.store.list_invitations(account, self.now()).await
    }

    /// Takes an invitation back. Returns the address that it went to.
    pub async fn remove_invitation(
        &self,
        caller: &Caller,
        account: AccountId,
        id: i64,
    ) -> Result<String> {
        self.get_account_as(Role::Owner, caller, account).await?;
        let email = self.store.delete_invitation(account, id).await?;
        email.ok_or_else(no_such_invitation)
    }

    /// The invitations that wait for a person whose address is known to be theirs.
    pub async fn list_invitations_of(&self, caller: &Caller) -> Result<Vec<Invitation>> {
        self.store
            .list_invitations_of(caller.person()?, self.now())
            .await
    }

    /// Makes the caller a member.
    pub async fn accept_invitation(
        &self,
        caller: &Caller,
        key: InvitationKey,
    ) -> Result<Invitation> {
        let person = caller.person()?;
        self.store
            .accept_invitation(person, key.into(), self.invitation_bounds(), self.now())
            .await
    }

    /// Deletes an invitation that the caller does not want.
    pub async fn decline_invitation(
        &self,
        caller: &Caller,
        key: InvitationKey,
    ) -> Result<Invitation> {
        let person = caller.person()?;
        self.store
            .decline_invitation(person, key.into(), self.now())
            .await
    }

    fn invitation_bounds(&self) -> InvitationBounds {
        let limits = &self.settings.limits;
        InvitationBounds {
            open_max: limits.invitations_per_account,
            mails_per_day: limits.invitations_per_day,
            members_max: limits.members_per_account,
            accounts_per_person: limits.accounts_per_person,
        }
    }

    /// Names that others chose stand in lines of their own, so that none can pass for words of the server.
    fn letter(
        &self,
        invitation: &Invitation,
        account: &Account,
        inviter: &Person,
        code: &Secret,
    ) -> Mail {
        let server = &self.settings.public_url;
        let (role, means) = match invitation.role {
            Role::Owner => ("an owner", "may do everything"),
            Role::Developer => ("a developer", "may change and deploy what is in it"),
            Role::Viewer => ("a viewer", "may look at what is in it"),
        };
        let text = format!(
            "Hello,\n\nsomebody invites you to share an account at\n\n    {server}\n\n\
             Account:  {}\nInvited by:  {} <{}>\nAs:  {role}, who {means}\n\n\
             Sign in there, or sign up with this address, at\n\n    {server}/console/sign-in\n    \
             {server}/console/sign-up\n\nand accept the invitation on your profile page, or with this code:\n\n    \
             {}\n\nThe command line takes it, too: pilvi clouds join\n\n\
             The code holds until {} and serves once. If you do not know what this is about, leave this mail.\n",
            one_line(&account.name),
            one_line(&inviter.name),
            one_line(&inviter.email),
            code.expose(),
            wire::text(invitation.expires_at),
        );
        Mail {
            to: invitation.email.clone(),
            subject: "An invitation to an account".to_owned(),
            text,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownInvitation {
    id: i64,
    email: String,
    role: &'static str,
    account: ShownAccount,
    #[serde(skip_serializing_if = "Option::is_none")]
    invited_by: Option<String>,
    created_at: String,
    expires_at: String,
}

#[derive(Serialize)]
struct ShownAccount {
    id: String,
    name: String,
}

impl From<Invitation> for ShownInvitation {
    fn from(invitation: Invitation) -> Self {
        Self {
            id: invitation.id,
            email: invitation.email,
            role: invitation.role.as_str(),
            account: ShownAccount {
                id: invitation.account.to_string(),
                name: invitation.account_name,
            },
            invited_by: invitation.invited_by,
            created_at: wire::text(invitation.created_at),
            expires_at: wire::text(invitation.expires_at),
        }
    }
}

async fn list_invitations(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let invitations = platform.list_invitations(&caller, id.parse()?).await?;
    let invitations = invitations.into_iter().map(ShownInvitation::from);
    Ok(Reply::ok(&List::from_iter(invitations)))
}

async fn create_invitation(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let account: AccountId = id.parse()?;
    let draft = invitation_draft(body.or_empty())?;
    // The mails of a day are counted by what was written down, so one waits until the other is.
    let _turn = match &asked.caller {
        Caller::Person(person) => Some(platform.turns.take(&format!("mails of {person}")).await),
        Caller::Account(_) => None,
    };
    let invitation = platform
        .create_invitation(&asked.caller, account, draft)
        .await?;
    let act = asked
        .act("invitation.create", &invitation.email)
        .with("role", invitation.role.as_str());
    platform.audit.note(act.in_account(account)).await;
    Ok(Reply::created(&ShownInvitation::from(invitation)))
}

async fn remove_invitation(
    State(platform): State<Platform>,
    asked: Asked,
    Path((id, invitation)): Path<(String, String)>,
) -> Answer {
    let (account, invitation): (AccountId, _) = (id.parse()?, number(&invitation)?);
    let email = platform
        .remove_invitation(&asked.caller, account, invitation)
        .await?;
    let act = asked.act("invitation.remove", email);
    platform.audit.note(act.in_account(account)).await;
    Ok(Reply::empty())
}

async fn list_own_invitations(State(platform): State<Platform>, caller: Caller) -> Answer {
    let invitations = platform.list_invitations_of(&caller).await?;
    let invitations = invitations.into_iter().map(ShownInvitation::from);
    Ok(Reply::ok(&List::from_iter(invitations)))
}

async fn accept_by_code(State(platform): State<Platform>, asked: Asked, body: Body) -> Answer {
    asked.caller.person()?;
    let mut fields = Fields::of(body.or_empty())?;
    let code = fields.text("code");
    fields.faults.finish()?;
    let code = code.ok_or_else(|| Error::invalid("code", "is required"))?;
    let code = Secret::new(code.trim());
    accept(&platform, &asked, InvitationKey::Code(code)).await
}

async fn accept_by_number(
    State(platform): State<Platform>,
    asked: Asked,
    Path(invitation): Path<String>,
) -> Answer {
    asked.caller.person()?;
    let number = number(&invitation)?;
    accept(&platform, &asked, InvitationKey::Number(number)).await
}

/// Answers with the account, as if it had just been made for the new member.
async fn accept(platform: &Platform, asked: &Asked, key: InvitationKey) -> Answer {
    let invitation = platform.accept_invitation(&asked.caller, key).await?;
    let act = asked
        .act("invitation.accept", &invitation.email)
        .with("role", invitation.role.as_str());
    platform
        .audit
        .note(act.in_account(invitation.account))
        .await;
    let account = platform
        .get_account(&asked.caller, invitation.account)
        .await?;
    let role = Some(invitation.role);
    Ok(Reply::created(&show_account(platform, account, role)))
}

async fn decline_invitation(
    State(platform): State<Platform>,
    asked: Asked,
    Path(invitation): Path<String>,
) -> Answer {
    asked.caller.person()?;
    let key = InvitationKey::Number(number(&invitation)?);
    let declined = platform.decline_invitation(&asked.caller, key).await?;
    let act = asked.act("invitation.decline", &declined.email);
    platform.audit.note(act.in_account(declined.account)).await;
    Ok(Reply::empty())
}

/// Reads `{"email","role"}`. Without a role it is for a developer.
fn invitation_draft(body: Value) -> Result<InvitationDraft> {
    let mut fields = Fields::of(body)?;
    let draft = InvitationDraft {
        email: fields.text("email").unwrap_or_default(),
        role: read_role(&mut fields).unwrap_or(Role::Developer),
    };
    fields.faults.finish()?;
    Ok(draft)
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| no_such_invitation())
}

fn no_such_invitation() -> Error {
    Error::not_found("there is no such invitation")
}
