//! The calls of the account interface. Their parameters are wherever an old client puts them (`eds.md` §8.1).

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::routing::{get, post};
use http::StatusCode;
use http::request::Parts;
use http::{HeaderMap, Uri};
use pilvi_base::Secret;
use pilvi_core::{Act, Actor};
use pilvi_model::PersonId;
use pilvi_web::form::{Credentials, Form};
use pilvi_web::{
    Arrival, Body, RawBody, Refusal, Reply, Scheme, Visitor, bearer, has_authorization,
};
use serde_json::{Value, json};

use super::apps::App;
use super::login::LIFE;
use crate::people::{SignInFailure, WRONG};
use crate::wire::Fields;
use crate::{Caller, Platform};

type Answer = Result<Reply, Refusal>;

pub(crate) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/account/auth/oauth2/token", post(grant))
        .route("/v1/account/auth/oauth2/revoke", post(revoke))
        .route("/v1/account/auth/identity", post(identify))
        .route("/v1/account/apps", get(list_apps).post(create_app))
        .route("/v1/account/apps/{id}", get(get_app).delete(remove_app))
}

/// Whoever signed in here, or has a personal access token.
struct SignedIn {
    caller: Caller,
    arrival: Arrival,
}

impl FromRequestParts<Platform> for SignedIn {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, Refusal> {
        let Ok(arrival) = Arrival::from_request_parts(parts, platform).await;
        let caller = platform.caller_by_login(token(&parts.headers)).await?;
        let Ok(visitor) = Visitor::from_request_parts(parts, platform).await;
        if let Caller::Person(person) = &caller {
            visitor.is_person(*person)?;
        }
        Ok(Self { caller, arrival })
    }
}

impl SignedIn {
    fn act(&self, event: &'static str, subject: &str) -> Act {
        Act::new(self.caller.actor(), event, subject)
            .asked_by(&self.arrival.request_id, Some(self.arrival.peer.ip()))
    }
}

/// The bearer's token, or that of the header that sessions had before OAuth2.
fn token(headers: &HeaderMap) -> Option<Secret> {
    if has_authorization(headers) {
        return bearer(headers, Scheme::AnyCase);
    }
    let session = headers
        .get("enginio-backend-session")?
        .to_str()
        .ok()?
        .trim();
    (!session.is_empty()).then(|| Secret::new(session))
}

async fn grant(
    State(platform): State<Platform>,
    arrival: Arrival,
    uri: Uri,
    RawBody(body): RawBody,
) -> Answer {
    let form = Form::read(&body, uri.query())?;
    match form.get("grant_type") {
        Some("password") => {}
        Some(other) => {
            let other: String = other.chars().take(60).collect();
            let message = format!("the grant type `{other}` is not offered; use password");
            return Ok(oauth_error(
                "unsupported_grant_type",
                &message,
                "BadRequest",
            ));
        }
        None => {
            let message = "the parameter grant_type is missing; it is password";
            return Ok(oauth_error("invalid_request", message, "BadRequest"));
        }
    }
    match log_in(&platform, &form.credentials(), &arrival).await {
        Ok(token) => Ok(Reply::ok(&json!({
            "access_token": token.expose(),
            "token_type": "bearer",
            "expires_in": LIFE.as_secs(),
        }))),
        Err(SignInFailure::Wrong) => Ok(oauth_error("invalid_grant", WRONG, "InvalidCredentials")),
        Err(failure) => Err(failure.into()),
    }
}

/// A refusal as OAuth2 wants it, and as all others here are.
fn oauth_error(error: &str, message: &str, reason: &str) -> Reply {
    let body = json!({
        "error": error,
        "error_description": message,
        "errors": [{"message": message, "reason": reason}],
    });
    Reply::json(StatusCode::BAD_REQUEST, &body)
}

async fn identify(
    State(platform): State<Platform>,
    arrival: Arrival,
    uri: Uri,
    RawBody(body): RawBody,
) -> Answer {
    let form = Form::read(&body, uri.query())?;
    let mut credentials = form.credentials();
    if let (Some(email), Some(password)) = (form.get("email"), form.get("password")) {
        credentials.insert(
            0,
            Credentials {
                username: email.to_owned(),
                password: Secret::new(password),
            },
        );
    }
    let token = log_in(&platform, &credentials, &arrival).await?;
    Ok(Reply::ok(&json!({"sessionToken": token.expose()})))
}

async fn log_in(
    platform: &Platform,
    credentials: &[Credentials],
    arrival: &Arrival,
) -> Result<Secret, SignInFailure> {
    let peer = arrival.peer.ip();
    let (person, token) = platform.log_in(credentials, peer).await?;
    platform.note(signed_in(person, arrival)).await;
    Ok(token)
}

fn signed_in(person: PersonId, arrival: &Arrival) -> Act {
    Act::new(Actor::Person(person), "person.sign_in", person)
        .asked_by(&arrival.request_id, Some(arrival.peer.ip()))
}

async fn revoke(State(platform): State<Platform>, uri: Uri, RawBody(body): RawBody) -> Answer {
    let form = Form::read(&body, uri.query())?;
    if let Some(token) = form.get("token") {
        platform.log_out(&Secret::new(token)).await?;
    }
    Ok(Reply::empty())
}

async fn list_apps(State(platform): State<Platform>, who: SignedIn) -> Answer {
    let apps = platform.list_apps(&who.caller).await?;
    let results: Vec<Value> = apps.iter().map(App::brief).collect();
    Ok(Reply::ok(&json!({ "results": results })))
}

async fn create_app(State(platform): State<Platform>, who: SignedIn, body: Body) -> Answer {
    let mut fields = Fields::of(body.or_empty())?;
    let name = fields.text("name").unwrap_or_default();
    fields.faults.finish()?;
    let app = platform.create_app(&who.caller, name.clone()).await?;
    let act = who.act("instance.create", app.id()).with("name", name);
    platform.note(act.in_account(app.account())).await;
    Ok(Reply::created(&app.whole()))
}

async fn get_app(
    State(platform): State<Platform>,
    who: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    Ok(Reply::ok(
        &platform.find_app(&who.caller, &id).await?.whole(),
    ))
}

async fn remove_app(
    State(platform): State<Platform>,
    who: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let account = platform.remove_app(&who.caller, &id).await?;
    let act = who.act("instance.remove", &id);
    platform.note(act.in_account(account)).await;
    Ok(Reply::empty())
}
