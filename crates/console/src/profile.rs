//! What is a person's own: tokens, keys, sessions, accounts.

mod view;

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use pilvi_base::Secret;
use pilvi_core::Act;
use pilvi_model::{Error, Timestamp};
use pilvi_platform::{Caller, InvitationKey, PersonChange, SignInFailure, SshKeyDraft, TokenDraft};
use pilvi_web::Params;

use crate::Console;
use crate::form::{Fields, Form};
use crate::page::{Page, Trouble, capital, go, log, sentence, status_of};
use crate::session::{Maybe, SignedIn};
use view::{News, page};

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route("/console/profile", get(show))
        .route("/console/profile/name", post(rename))
        .route("/console/profile/email", post(change_email))
        .route("/console/profile/password", post(change_password))
        .route("/console/profile/tokens", post(create_token))
        .route("/console/profile/tokens/remove", post(remove_token))
        .route("/console/profile/keys", post(create_key))
        .route("/console/profile/keys/remove", post(remove_key))
        .route("/console/profile/invitations", post(accept_by_code))
        .route("/console/profile/invitations/accept", post(accept))
        .route("/console/profile/invitations/decline", post(decline))
        .route("/console/profile/sessions/end", post(end_session))
        .route("/console/profile/sessions/end-others", post(end_others))
}

/// The page that the console begins with.
pub(crate) async fn home(Maybe(signed_in): Maybe) -> Page {
    go(match signed_in {
        Some(_) => "/console/profile",
        None => "/console/sign-in",
    })
}

async fn show(
    State(console): State<Console>,
    signed_in: SignedIn,
    params: Params,
) -> Result<Page, Trouble> {
    let good = match params.given("news") {
        Some("welcome") => Some("Welcome. You are signed in."),
        Some("confirmed") => Some("The address is confirmed."),
        Some("name") => Some("Your name is changed."),
        Some("email") => Some(
            "A mail with a code is on its way to the new address. It becomes yours with that code.",
        ),
        Some("password") => Some("The password is set. All other browsers are signed out."),
        Some("token-removed") => {
            Some("The token is deleted. Whoever used it is refused from now on.")
        }
        Some("key") => Some("The key is added. You can push with it."),
        Some("key-removed") => Some("The key is removed."),
        Some("joined") => Some("You are a member of the account now."),
        Some("declined") => Some("The invitation is declined."),
        Some("session") => Some("That browser is signed out."),
        Some("linked") => Some("It is linked. You can sign in with it."),
        Some("unlinked") => Some("It is unlinked, and opens nothing here any more."),
        Some("sessions") => Some("All other browsers are signed out."),
        _ => None,
    };
    let news = News {
        good,
        ..News::default()
    };
    Ok(Page::ok(page(&console, &signed_in, &news).await?))
}

/// Sends the browser back to the profile, so that loading it anew repeats nothing, or says what went wrong.
pub(crate) async fn done(
    console: &Console,
    signed_in: &SignedIn,
    outcome: Result<(), Error>,
    news: &str,
) -> Result<Page, Trouble> {
    match outcome {
        Ok(()) => Ok(go(&format!("/console/profile?news={news}"))),
        Err(error) => refused(console, signed_in, &error, "", None).await,
    }
}

/// The same for what is folded away on the page: it is open again, with what was typed.
async fn done_in(
    console: &Console,
    signed_in: &SignedIn,
    outcome: Result<(), Error>,
    news: &str,
    (open, typed): (&str, &Fields),
) -> Result<Page, Trouble> {
    match outcome {
        Ok(()) => Ok(go(&format!("/console/profile?news={news}"))),
        Err(error) => refused(console, signed_in, &error, open, Some(typed)).await,
    }
}

/// The profile with what went wrong.
async fn refused(
    console: &Console,
    signed_in: &SignedIn,
    error: &Error,
    open: &str,
    typed: Option<&Fields>,
) -> Result<Page, Trouble> {
    log(error);
    let words: Vec<String> = match error.fields.is_empty() {
        true => vec![sentence(error)],
        false => {
            let said = |fault: &pilvi_model::FieldError| {
                capital(&format!("{} {}", shown(&fault.property), fault.message))
            };
            error.fields.iter().map(said).collect()
        }
    };
    let news = News {
        bad: Some(words.join(" ")),
        open,
        typed,
        ..News::default()
    };
    let page = page(console, signed_in, &news).await?;
    Ok(Page::with_status(status_of(error), page))
}

/// A property by the name that it has on the page.
fn shown(property: &str) -> &str {
    match property {
        "currentPassword" => "the present password",
        "password" => "the new password",
        "email" => "the e-mail address",
        "name" => "the name",
        "key" => "the key",
        other => other,
    }
}

/// An outcome without the patience of whoever failed too often.
fn plain(failure: SignInFailure) -> Error {
    match failure {
        SignInFailure::Other(error) => error,
        SignInFailure::Wrong => Error::unauthenticated("the password is wrong"),
        SignInFailure::TooMany(_) => {
            Error::over_limit("that was tried too often; wait some minutes and try again")
        }
    }
}

async fn rename(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of(&signed_in)?;
    let name = fields.trimmed("new-name").to_owned();
    let act = signed_in.act("person.change", signed_in.person.id);
    let act = act.with("name", name.as_str());
    let change = PersonChange {
        name: Some(name),
        ..PersonChange::default()
    };
    let outcome = change_person(&console, &signed_in, change, act).await;
    let place = ("rename", &fields);
    done_in(&console, &signed_in, outcome, "name", place).await
}

async fn change_email(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of(&signed_in)?;
    let email = fields.trimmed("email").to_owned();
    let act = signed_in.act("person.change", signed_in.person.id);
    let act = act.with("email", email.as_str());
    let change = PersonChange {
        email: Some(email),
        current: Some(fields.secret("current")),
        ..PersonChange::default()
    };
    let outcome = change_person(&console, &signed_in, change, act).await;
    let place = ("change-email", &fields);
    done_in(&console, &signed_in, outcome, "email", place).await
}

/// Changes who is signed in, and writes that down.
async fn change_person(
    console: &Console,
    signed_in: &SignedIn,
    change: PersonChange,
    act: Act,
) -> Result<(), Error> {
    let platform = &console.platform;
    let changed = platform.change_person(signed_in.person.id, change, signed_in.peer);
    changed.await.map_err(plain)?;
    platform.note(act).await;
    Ok(())
}

async fn change_password(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of(&signed_in)?;
    let (current, new) = (fields.secret("current"), fields.secret("password"));
    let changed = console.platform.change_password(
        &signed_in.person,
        Some(&current),
        &new,
        Some(signed_in.session.id),
        signed_in.peer,
    );
    let outcome = changed.await.map_err(plain);
    if outcome.is_ok() {
        let act = signed_in.act("person.password.change", signed_in.person.id);
        console.platform.note(act).await;
    }
    let place = ("change-password", &fields);
    done_in(&console, &signed_in, outcome, "password", place).await
}

async fn create_token(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of(&signed_in)?;
    let platform = &console.platform;
    let made = match token_draft(&fields, platform.now()) {
        Ok(draft) => {
            platform
                .create_person_token(signed_in.person.id, draft)
                .await
        }
        Err(error) => Err(error),
    };
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            return refused(&console, &signed_in, &error, "add-token", Some(&fields)).await;
        }
    };
    platform
        .note_person(
            signed_in.person.id,
            "person.token.create",
            made.record.id,
            signed_in.peer,
        )
        .await;
    let news = News {
        token: Some(made.secret.expose()),
        ..News::default()
    };
    // Loading the page anew would make another token, and the browser asks first. Nothing else shows it only once.
    Ok(Page::ok(page(&console, &signed_in, &news).await?))
}

fn token_draft(fields: &Fields, now: Timestamp) -> Result<TokenDraft, Error> {
    const DAYS: [u64; 3] = [30, 90, 365];
    let expires_at = match fields.trimmed("life") {
        "" => None,
        life => {
            let days = life.parse().ok().filter(|days| DAYS.contains(days));
            let days = days.ok_or_else(|| Error::invalid("life", "is none of those offered"))?;
            Some(now.plus(Duration::from_secs(days * 24 * 3600)))
        }
    };
    Ok(TokenDraft {
        name: Some(fields.trimmed("name").to_owned()),
        expires_at,
    })
}

async fn remove_token(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let id = form.of(&signed_in)?.number("id").unwrap_or_default();
    let platform = &console.platform;
    let outcome = platform.remove_person_token(signed_in.person.id, id).await;
    if outcome.is_ok() {
        platform
            .note_person(
                signed_in.person.id,
                "person.token.remove",
                id,
                signed_in.peer,
            )
            .await;
    }
    done(&console, &signed_in, outcome, "token-removed").await
}

async fn create_key(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of(&signed_in)?;
    let draft = SshKeyDraft {
        name: fields.trimmed("key-name").to_owned(),
        key: fields.text("key").to_owned(),
    };
    let platform = &console.platform;
    let outcome = platform.create_ssh_key(signed_in.person.id, draft).await;
    if let Ok(key) = &outcome {
        platform
            .note_person(
                signed_in.person.id,
                "ssh_key.create",
                key.id,
                signed_in.peer,
            )
            .await;
    }
    let place = ("add-key", &fields);
    done_in(&console, &signed_in, outcome.map(drop), "key", place).await
}

async fn remove_key(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let id = form.of(&signed_in)?.number("id").unwrap_or_default();
    let platform = &console.platform;
    let outcome = platform.remove_ssh_key(signed_in.person.id, id).await;
    if outcome.is_ok() {
        platform
            .note_person(signed_in.person.id, "ssh_key.remove", id, signed_in.peer)
            .await;
    }
    done(&console, &signed_in, outcome, "key-removed").await
}

async fn accept(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let id = form.of(&signed_in)?.number("id").unwrap_or_default();
    let joined = join(&console, &signed_in, InvitationKey::Number(id)).await;
    done(&console, &signed_in, joined, "joined").await
}

async fn accept_by_code(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of(&signed_in)?;
    let code = Secret::new(fields.trimmed("code"));
    let joined = join(&console, &signed_in, InvitationKey::Code(code)).await;
    let place = ("join", &fields);
    done_in(&console, &signed_in, joined, "joined", place).await
}

async fn join(console: &Console, signed_in: &SignedIn, key: InvitationKey) -> Result<(), Error> {
    let platform = &console.platform;
    let caller = Caller::Person(signed_in.person.id);
    let invitation = platform.accept_invitation(&caller, key).await?;
    let act = signed_in
        .act("invitation.accept", &invitation.email)
        .in_account(invitation.account)
        .with("role", invitation.role.as_str());
    platform.note(act).await;
    Ok(())
}

async fn decline(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let id = form.of(&signed_in)?.number("id").unwrap_or_default();
    let platform = &console.platform;
    let caller = Caller::Person(signed_in.person.id);
    let declined = platform
        .decline_invitation(&caller, InvitationKey::Number(id))
        .await;
    if let Ok(invitation) = &declined {
        let act = signed_in
            .act("invitation.decline", &invitation.email)
            .in_account(invitation.account);
        platform.note(act).await;
    }
    done(&console, &signed_in, declined.map(drop), "declined").await
}

async fn end_session(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    let id = form.of(&signed_in)?.number("id").unwrap_or_default();
    let outcome = console.platform.end_session(signed_in.person.id, id).await;
    done(&console, &signed_in, outcome, "session").await
}

async fn end_others(
    State(console): State<Console>,
    signed_in: SignedIn,
    form: Form,
) -> Result<Page, Trouble> {
    form.of(&signed_in)?;
    let kept = Some(signed_in.session.id);
    let outcome = console
        .platform
        .end_other_sessions(signed_in.person.id, kept)
        .await;
    done(&console, &signed_in, outcome, "sessions").await
}
