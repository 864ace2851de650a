//! Signing in and out, and a new password for whoever forgot theirs.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use pilvi_base::Secret;
use pilvi_platform::{Registration, SignInFailure};
use pilvi_web::{Params, Refusal};

use crate::Console;
use crate::form::Form;
use crate::layout::{Frame, Input, Tone, notice, token};
use crate::oidc::other_ways;
use crate::page::{Page, Trouble, capital, go, log, sentence, status_of};
use crate::session::{self, Maybe, Visitor};

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route("/console/sign-in", get(show).post(sign_in))
        .route("/console/sign-out", post(sign_out))
        .route("/console/forgot", get(show_forgot).post(forgot))
        .route("/console/reset", get(show_reset).post(reset))
}

async fn show(
    State(console): State<Console>,
    Maybe(signed_in): Maybe,
    visitor: Visitor,
    params: Params,
) -> Page {
    let next = params.given("next").unwrap_or_default();
    if signed_in.is_some() {
        return go(session::safe_path(next));
    }
    let asked = Asked {
        next,
        email: params.given("email").unwrap_or_default(),
        news: match params.given("news") {
            Some("signed-out") => Some((Tone::Good, "You are signed out.")),
            Some("new-password") => Some((
                Tone::Good,
                "The password is set, and every browser is signed out. Sign in with it.",
            )),
            _ => None,
        },
    };
    visitor.sign(Page::ok(asked.page(&console, &visitor)))
}

/// What the page for signing in shows.
struct Asked<'a> {
    next: &'a str,
    email: &'a str,
    news: Option<(Tone, &'a str)>,
}

impl Asked<'_> {
    fn page(&self, console: &Console, visitor: &Visitor) -> Markup {
        let email = Input::email("email", "E-mail address").value(self.email);
        let password = Input::password("password", "Password");
        let (email, password) = match self.email.is_empty() {
            true => (email.focus(), password),
            false => (email, password.focus()),
        };
        Frame::new("Sign in").narrow(html! {
            h1 { "Sign in" }
            @if let Some((tone, words)) = self.news { (notice(tone, words)) }
            form method="post" action="/console/sign-in" {
                (token(&visitor.token()))
                input type="hidden" name="next" value=(self.next);
                (email.show())
                (password.show())
                button type="submit" { "Sign in" }
            }
            (other_ways(&console.platform, self.next))
            p.quiet {
                a href="/console/forgot" { "Forgot your password?" }
                @if console.platform.registration() != Registration::Closed {
                    " · " a href="/console/sign-up" { "Sign up" }
                }
            }
        })
    }
}

async fn sign_in(
    State(console): State<Console>,
    visitor: Visitor,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of_visitor(&visitor)?;
    let (email, password) = (fields.trimmed("email"), fields.secret("password"));
    let verified = console
        .platform
        .verify_password(email, &password, visitor.peer);
    match verified.await {
        Ok(person) => {
            let platform = &console.platform;
            platform
                .note_person(person, "person.sign_in", person, visitor.peer)
                .await;
            Ok(session::arrive(&console.platform, &visitor, person, fields.text("next")).await?)
        }
        Err(SignInFailure::Other(error)) => Err(error.into()),
        Err(failure) => {
            let refusal = Refusal::from(failure);
            let words = capital(&refusal.message);
            let asked = Asked {
                next: fields.text("next"),
                email,
                news: Some((Tone::Bad, &words)),
            };
            let page = Page::with_status(refusal.status, asked.page(&console, &visitor));
            Ok(page.retry_after(refusal.retry_after))
        }
    }
}

async fn sign_out(
    State(console): State<Console>,
    Maybe(signed_in): Maybe,
    form: Form,
) -> Result<Page, Trouble> {
    let done = || session::leave(go("/console/sign-in?news=signed-out"));
    let Some(signed_in) = signed_in else {
        return Ok(done());
    };
    form.of(&signed_in)?;
    let platform = &console.platform;
    // Somebody may have ended it in the same moment.
    let _ = platform
        .end_session(signed_in.person.id, signed_in.session.id)
        .await;
    Ok(done())
}

async fn show_forgot(visitor: Visitor) -> Page {
    visitor.sign(Page::ok(forgot_page(&visitor, "", None)))
}

fn forgot_page(visitor: &Visitor, email: &str, fault: Option<&str>) -> Markup {
    Frame::new("A new password").narrow(html! {
        h1 { "A new password" }
        @if let Some(fault) = fault { (notice(Tone::Bad, fault)) }
        p { "Enter your e-mail address. If it belongs to a login here, a mail with a code is on its way to you." }
        form method="post" action="/console/forgot" {
            (token(&visitor.token()))
            (Input::email("email", "E-mail address").value(email).focus().show())
            button type="submit" { "Send the mail" }
        }
        p.quiet { a href="/console/sign-in" { "Back to signing in" } }
    })
}

async fn forgot(
    State(console): State<Console>,
    visitor: Visitor,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of_visitor(&visitor)?;
    let email = fields.trimmed("email");
    match console.platform.ask_for_password(email, visitor.peer).await {
        Ok(()) => Ok(Page::ok(Frame::new("Look into your mail").narrow(html! {
            h1 { "Look into your mail" }
            p {
                "If " strong { (email) } " belongs to a login here, a mail with a code is on its way. The code holds "
                "for one hour."
            }
            a.button.plain href="/console/reset" { "Enter the code" }
            p.quiet { a href="/console/sign-in" { "Back to signing in" } }
        }))),
        Err(SignInFailure::Other(error)) if !error.fields.is_empty() => Ok(Page::with_status(
            StatusCode::UNPROCESSABLE_ENTITY,
            forgot_page(&visitor, email, Some(&sentence(&error))),
        )),
        Err(failure) => Err(failure.into()),
    }
}

async fn show_reset(
    State(console): State<Console>,
    visitor: Visitor,
    params: Params,
) -> Result<Page, Trouble> {
    let code = params.given("code").unwrap_or_default();
    let mut fault = None;
    if !code.is_empty() {
        let known = console
            .platform
            .find_password_code(&Secret::new(code))
            .await;
        fault = known.err();
    }
    if let Some(error) = &fault {
        log(error);
    }
    Ok(visitor.sign(Page::ok(reset_page(&visitor, code, fault.as_ref()))))
}

fn reset_page(visitor: &Visitor, code: &str, error: Option<&pilvi_model::Error>) -> Markup {
    let faults = error.map_or(&[][..], |error| &error.fields);
    let is_about_code = faults.iter().any(|fault| fault.property == "code");
    Frame::new("Set a new password").narrow(html! {
        h1 { "Set a new password" }
        @if let Some(error) = error.filter(|error| error.fields.is_empty()) { (notice(Tone::Bad, &sentence(error))) }
        form method="post" action="/console/reset" {
            (token(&visitor.token()))
            @if code.is_empty() || is_about_code {
                (Input::text("code", "The code").hint("From the mail that you got.").autocomplete("one-time-code")
                    .value(code).faults(faults, "code").show())
            } @else {
                input type="hidden" name="code" value=(code);
            }
            (Input::new_password("password", "The new password").faults(faults, "password").focus().show())
            label.check {
                input type="checkbox" name="revoke" value="yes";
                span { "Delete all my tokens, too. Tick this if somebody else may have used your login; programs "
                    "need new tokens then." }
            }
            button type="submit" { "Set the password" }
        }
        p.quiet { a href="/console/forgot" { "Get another code" } }
    })
}

async fn reset(
    State(console): State<Console>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Trouble> {
    let fields = form.of_visitor(&visitor)?;
    let code = fields.trimmed("code");
    let (secret, password) = (Secret::new(code), fields.secret("password"));
    let revoke = fields.is_ticked("revoke");
    let done = console.platform.reset_password(&secret, &password, revoke);
    match done.await {
        // Every session has ended, also that of this browser.
        Ok(person) => {
            console
                .platform
                .note_person(person.id, "person.password.reset", person.id, visitor.peer)
                .await;
            Ok(session::leave(go("/console/sign-in?news=new-password")).into_response())
        }
        Err(error) if !error.fields.is_empty() => {
            let page = reset_page(&visitor, code, Some(&error));
            Ok(Page::with_status(status_of(&error), page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}
