//! Members: who belongs to an account, and as what.
//!
//! Owners let people in (`invitations.rs`), change their roles and send them away. Everybody sees with whom they share
//! an account, and may leave it. An account keeps an owner, whatever happens at the same time: the store decides.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, put};
use pilvi_model::{AccountId, Error, PersonId, Result};
use pilvi_store::platform::{Asker, Member, Role};
use pilvi_web::{Body, Reply};
use serde::Serialize;
use serde_json::Value;

use crate::routes::{Answer, Asked};
use crate::wire::{Fields, List};
use crate::{Caller, Platform};

pub(crate) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/accounts/{id}/members", get(list_members))
        .route(
            "/v1/accounts/{id}/members/{person}",
            put(change_member).delete(remove_member),
        )
}

impl Platform {
    /// The members of an account, for whoever is one.
    pub async fn list_members(&self, caller: &Caller, account: AccountId) -> Result<Vec<Member>> {
        self.get_account_as(Role::Viewer, caller, account).await?;
        self.store.list_members(account).await
    }

    /// Gives a member another role.
    pub async fn change_role(
        &self,
        caller: &Caller,
        account: AccountId,
        person: PersonId,
        role: Role,
    ) -> Result<Member> {
        self.get_account_as(Role::Viewer, caller, account).await?;
        let asker = Asker::Member(caller.person()?);
        self.store.set_role(asker, account, person, role).await
    }

    /// Ends a membership, be it the caller's own.
    pub async fn remove_member(
        &self,
        caller: &Caller,
        account: AccountId,
        person: PersonId,
    ) -> Result<()> {
        self.get_account_as(Role::Viewer, caller, account).await?;
        let asker = Asker::Member(caller.person()?);
        self.store.delete_member(asker, account, person).await
    }
}

#[derive(Serialize)]
struct ShownMember {
    /// The person's.
    id: String,
    email: String,
    name: String,
    role: &'static str,
}

impl From<Member> for ShownMember {
    fn from(member: Member) -> Self {
        Self {
            id: member.person.id.to_string(),
            email: member.person.email,
            name: member.person.name,
            role: member.role.as_str(),
        }
    }
}

async fn list_members(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let members = platform.list_members(&caller, id.parse()?).await?;
    let members = members.into_iter().map(ShownMember::from);
    Ok(Reply::ok(&List::from_iter(members)))
}

async fn change_member(
    State(platform): State<Platform>,
    asked: Asked,
    Path((id, person)): Path<(String, String)>,
    body: Body,
) -> Answer {
    let (account, person) = ids(&id, &person)?;
    let role = role(body.or_empty())?;
    let member = platform
        .change_role(&asked.caller, account, person, role)
        .await?;
    let act = asked
        .act("member.change", &member.person.email)
        .with("role", role.as_str());
    platform.audit.note(act.in_account(account)).await;
    Ok(Reply::ok(&ShownMember::from(member)))
}

async fn remove_member(
    State(platform): State<Platform>,
    asked: Asked,
    Path((id, person)): Path<(String, String)>,
) -> Answer {
    let (account, person) = ids(&id, &person)?;
    platform
        .remove_member(&asked.caller, account, person)
        .await?;
    let event = match asked.caller == Caller::Person(person) {
        true => "member.leave",
        false => "member.remove",
    };
    let email = platform.store.find_person(person).await?;
    let email = email.map_or_else(|| person.to_string(), |person| person.email);
    let act = asked.act(event, email);
    platform.audit.note(act.in_account(account)).await;
    Ok(Reply::empty())
}

fn ids(account: &str, person: &str) -> Result<(AccountId, PersonId)> {
    let no_such_member = |_| Error::not_found("there is no such member in this account");
    Ok((account.parse()?, person.parse().map_err(no_such_member)?))
}

fn role(body: Value) -> Result<Role> {
    let mut fields = Fields::of(body)?;
    let role = read_role(&mut fields);
    fields.faults.finish()?;
    role.ok_or_else(|| Error::invalid("role", "is required"))
}

/// Reads `role`; `None`: it is not there, or a fault by now.
pub(crate) fn read_role(fields: &mut Fields) -> Option<Role> {
    let text = fields.text("role")?;
    let role = Role::find(&text);
    if role.is_none() {
        fields
            .faults
            .add("role", "must be owner, developer or viewer");
    }
    role
}
