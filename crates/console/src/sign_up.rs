//! Signing up.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use pilvi_model::FieldError;
use pilvi_platform::{Registration, SignInFailure, SignUpDraft};
use pilvi_web::Params;

use crate::Console;
use crate::form::Form;
use crate::layout::{Frame, Input, Tone, notice, token};
use crate::page::{Page, Trouble, go, sorry, status_of};
use crate::session::{Maybe, Visitor};

pub(crate) fn routes() -> Router<Console> {
    Router::new().route("/console/sign-up", get(show).post(sign_up))
}

async fn show(
    State(console): State<Console>,
    Maybe(signed_in): Maybe,
    visitor: Visitor,
    params: Params,
) -> Page {
    if signed_in.is_some() {
        return go("/console/profile");
    }
    let registration = console.platform.registration();
    if registration == Registration::Closed {
        return closed();
    }
    let wanted = Wanted {
        name: params.given("name").unwrap_or_default(),
        email: params.given("email").unwrap_or_default(),
        faults: &[],
    };
    visitor.sign(Page::ok(wanted.page(registration, &visitor)))
}

fn closed() -> Page {
    sorry(
        StatusCode::FORBIDDEN,
        "Nobody can sign up here",
        "The operator of this server makes the logins. Ask them for one.",
    )
}

/// What the page for signing up shows.
struct Wanted<'a> {
    name: &'a str,
    email: &'a str,
    faults: &'a [FieldError],
}

impl Wanted<'_> {
    fn page(&self, registration: Registration, visitor: &Visitor) -> Markup {
        Frame::new("Sign up").narrow(html! {
            h1 { "Sign up" }
            @if registration == Registration::Invited {
                (notice(Tone::Plain, "Only who is invited to an account can sign up here. Use the address that the \
                    invitation was sent to."))
            }
            form method="post" action="/console/sign-up" {
                (token(&visitor.token()))
                (Input::text("name", "Your name").autocomplete("name").value(self.name).faults(self.faults, "name")
                    .focus().show())
                (Input::email("email", "E-mail address").value(self.email).faults(self.faults, "email").show())
                (Input::new_password("password", "Password").faults(self.faults, "password").show())
                button type="submit" { "Sign up" }
            }
            p.quiet { "You have a login? " a href="/console/sign-in" { "Sign in" } }
        })
    }
}

async fn sign_up(
    State(console): State<Console>,
    visitor: Visitor,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of_visitor(&visitor)?;
    let registration = console.platform.registration();
    if registration == Registration::Closed {
        return Ok(closed());
    }
    let draft = SignUpDraft {
        name: fields.trimmed("name").to_owned(),
        email: fields.trimmed("email").to_owned(),
        password: fields.secret("password"),
    };
    match console.platform.sign_up(draft, visitor.peer).await {
        Ok(()) => Ok(Page::ok(sent(fields.trimmed("email"), registration))),
        Err(SignInFailure::Other(error)) if !error.fields.is_empty() => {
            let wanted = Wanted {
                name: fields.trimmed("name"),
                email: fields.trimmed("email"),
                faults: &error.fields,
            };
            let page = wanted.page(registration, &visitor);
            Ok(Page::with_status(status_of(&error), page))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// The same for every address: what is known of it is in the mail alone.
fn sent(email: &str, registration: Registration) -> Markup {
    Frame::new("Look into your mail").narrow(html! {
        h1 { "Look into your mail" }
        p {
            @match registration {
                Registration::Invited => {
                    "If " strong { (email) } " is invited, a mail is on its way that says what to do next."
                }
                _ => { "A mail to " strong { (email) } " says what to do next." }
            }
        }
        p { "Keep the password: you need it together with the code in the mail." }
        a.button.plain href="/console/verify" { "Enter the code" }
        p.quiet { "Nothing came? Look among the unwanted mails, or " a href="/console/sign-up" { "try again" } "." }
    })
}
