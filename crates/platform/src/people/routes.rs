//! The door for programs: the same rules as behind the console's pages, in JSON.

use axum::Router;
use axum::extract::State;
use axum::routing::{post, put};
use pilvi_base::Secret;
use pilvi_core::{Act, Actor};
use pilvi_model::{PersonId, Result as ModelResult};
use pilvi_web::{Arrival, Body, Refusal, Reply};
use serde_json::{Value, json};

use super::{PersonChange, SignInDraft, SignUpDraft};
use crate::Platform;
use crate::routes::Asked;
use crate::wire::{self, Fields};

type Answer = Result<Reply, Refusal>;

/// Nobody need be known behind what begins with a POST; the others need a personal access token.
pub(crate) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/user", put(change_user))
        .route("/v1/user/password", put(change_password))
        .route("/v1/user/sign_up", post(sign_up))
        .route("/v1/user/verify", post(verify))
        .route("/v1/user/sign_in", post(sign_in))
        .route("/v1/user/forgot_password", post(forgot_password))
        .route("/v1/user/reset_password", post(reset_password))
}

async fn change_user(
    State(platform): State<Platform>,
    asked: Asked,
    arrival: Arrival,
    body: Body,
) -> Answer {
    let id = asked.caller.person()?;
    let mut fields = Fields::of(body.or_empty())?;
    let mut change = PersonChange {
        name: fields.text("name"),
        email: fields.text("email"),
        current: fields.text("currentPassword").map(Secret::new),
    };
    let password = fields.text("password").map(Secret::new);
    fields.faults.finish()?;
    let peer = arrival.peer.ip();
    if let Some(new) = password {
        let person = platform.get_person(id).await?;
        platform
            .change_password(&person, change.current.as_ref(), &new, None, peer)
            .await?;
        platform.note(asked.act("person.password.change", id)).await;
        change.current = Some(new);
    }
    let act = change_act(&asked, id, &change);
    let renewal = platform.change_person(id, change, peer).await?;
    if let Some(act) = act {
        platform.note(act).await;
    }
    let mut reply = json!(wire::Person::from(renewal.person));
    if let Some(email) = renewal.awaited_email {
        reply["awaitedEmail"] = email.into();
    }
    Ok(Reply::ok(&reply))
}

/// What the audit log says of a change of name and address. `None`: neither is asked for.
fn change_act(asked: &Asked, person: PersonId, change: &PersonChange) -> Option<Act> {
    let values = [("name", &change.name), ("email", &change.email)];
    let mut values = values
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .peekable();
    values.peek()?;
    let act = asked.act("person.change", person);
    Some(values.fold(act, |act, (name, value)| act.with(name, value)))
}

/// Something that a person did who was nobody before.
fn act(person: PersonId, event: &'static str, arrival: &Arrival) -> Act {
    Act::new(Actor::Person(person), event, person)
        .asked_by(&arrival.request_id, Some(arrival.peer.ip()))
}

async fn change_password(
    State(platform): State<Platform>,
    asked: Asked,
    arrival: Arrival,
    body: Body,
) -> Answer {
    let person = platform.get_person(asked.caller.person()?).await?;
    let mut fields = Fields::of(body.or_empty())?;
    let new = Secret::new(fields.text("password").unwrap_or_default());
    let current = fields.text("currentPassword").map(Secret::new);
    fields.faults.finish()?;
    platform
        .change_password(&person, current.as_ref(), &new, None, arrival.peer.ip())
        .await?;
    let act = asked.act("person.password.change", person.id);
    platform.note(act).await;
    Ok(Reply::empty())
}

async fn sign_up(State(platform): State<Platform>, arrival: Arrival, body: Body) -> Answer {
    let mut fields = Fields::of(body.or_empty())?;
    let draft = SignUpDraft {
        email: fields.text("email").unwrap_or_default(),
        name: fields.text("name").unwrap_or_default(),
        password: Secret::new(fields.text("password").unwrap_or_default()),
    };
    fields.faults.finish()?;
    platform.sign_up(draft, arrival.peer.ip()).await?;
    Ok(Reply::created(&json!({
        "message": "a mail to this address says what to do next, if it may sign up here"
    })))
}

async fn verify(
    State(platform): State<Platform>,
    asked: Result<Asked, Refusal>,
    arrival: Arrival,
    body: Body,
) -> Answer {
    let (code, password, client) = {
        let mut fields = Fields::of(body.or_empty())?;
        let code = Secret::new(fields.text("code").unwrap_or_default());
        let password = Secret::new(fields.text("password").unwrap_or_default());
        let client = fields.text("client");
        fields.faults.finish()?;
        (code, password, client)
    };
    if platform.find_email_code(&code).await?.is_some() {
        let asked = asked?;
        let person = asked.caller.person()?;
        let email = platform.confirm_email(person, &code).await?;
        platform
            .note(
                asked
                    .act("person.email.change", person)
                    .with("email", email),
            )
            .await;
        let person = platform.get_person(person).await?;
        return Ok(Reply::ok(&wire::Person::from(person)));
    }
    let peer = arrival.peer.ip();
    let person = platform.finish_sign_up(&code, &password, peer).await?;
    platform
        .note(act(person.id, "person.sign_up", &arrival))
        .await;
    let token = crate::TokenDraft {
        name: Some(client_name(client)),
        ..crate::TokenDraft::default()
    };
    let token = platform.create_person_token(person.id, token).await?;
    Ok(Reply::created(&wire::Authorization::shown(token)))
}

async fn sign_in(State(platform): State<Platform>, arrival: Arrival, body: Body) -> Answer {
    let draft = sign_in_draft(body.or_empty())?;
    let peer = arrival.peer.ip();
    let (person, token) = platform.sign_in(draft, peer).await?;
    platform.note(act(person, "person.sign_in", &arrival)).await;
    Ok(Reply::created(&wire::Authorization::shown(token)))
}

fn sign_in_draft(body: Value) -> ModelResult<SignInDraft> {
    let mut fields = Fields::of(body)?;
    let draft = SignInDraft {
        email: fields.text("email").unwrap_or_default(),
        password: Secret::new(fields.text("password").unwrap_or_default()),
        client: client_name(fields.text("client")),
    };
    fields.faults.finish()?;
    Ok(draft)
}

/// What the token of a program is called that does not say.
fn client_name(asked: Option<String>) -> String {
    let asked = asked.filter(|name| !name.trim().is_empty());
    asked.unwrap_or_else(|| "Sign-in".to_owned())
}

async fn forgot_password(State(platform): State<Platform>, arrival: Arrival, body: Body) -> Answer {
    let mut fields = Fields::of(body.or_empty())?;
    let email = fields.text("email").unwrap_or_default();
    fields.faults.finish()?;
    platform.ask_for_password(&email, arrival.peer.ip()).await?;
    Ok(Reply::empty())
}

async fn reset_password(State(platform): State<Platform>, arrival: Arrival, body: Body) -> Answer {
    let mut fields = Fields::of(body.or_empty())?;
    let code = Secret::new(fields.text("code").unwrap_or_default());
    let password = Secret::new(fields.text("password").unwrap_or_default());
    let revoke = fields.flag("revokeTokens").unwrap_or_default();
    fields.faults.finish()?;
    let person = platform.reset_password(&code, &password, revoke).await?;
    platform
        .note(act(person.id, "person.password.reset", &arrival))
        .await;
    Ok(Reply::empty())
}
