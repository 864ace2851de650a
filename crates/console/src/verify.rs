//! Codes that prove an address: the last step of a sign-up, and that of another address.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use pilvi_base::Secret;
use pilvi_model::FieldError;
use pilvi_platform::SignInFailure;
use pilvi_web::{Params, Refusal};

use crate::Console;
use crate::form::Form;
use crate::layout::{Frame, Input, Tone, notice, token};
use crate::page::{Page, Trouble, capital, go, sentence, sorry, status_of, to_sign_in};
use crate::session::{self, SignedIn, Visitor};

pub(crate) fn routes() -> Router<Console> {
    Router::new().route("/console/verify", get(show).post(verify))
}

async fn show(
    State(console): State<Console>,
    visitor: Visitor,
    signed_in: Result<SignedIn, Trouble>,
    params: Params,
) -> Result<Page, Trouble> {
    let code = params.given("code").unwrap_or_default();
    let found = console.platform.find_email_code(&Secret::new(code)).await?;
    let page = match found {
        Some((person, email)) => {
            if signed_in?.person.id != person.id {
                return Ok(not_theirs());
            }
            // Whoever looks for links in mails must not be able to use it up by looking.
            email_page(&visitor, code, &person.name, &email)
        }
        None => Asked {
            code,
            news: None,
            faults: &[],
        }
        .page(&visitor),
    };
    Ok(visitor.sign(Page::ok(page)))
}

/// The owner of a mailbox followed a link that is for somebody else's login.
fn not_theirs() -> Page {
    sorry(
        StatusCode::FORBIDDEN,
        "The code is for another login",
        "You are signed in as somebody else than who asked for this address. If that is you, too, sign out first and \
         sign in with that login; if it is not, leave the mail.",
    )
}

fn email_page(visitor: &Visitor, code: &str, name: &str, email: &str) -> Markup {
    Frame::new("Confirm the address").narrow(html! {
        h1 { "Confirm the address" }
        p { strong { (email) } " becomes the address of " strong { (name) } "." }
        form method="post" action="/console/verify" {
            (token(&visitor.token()))
            input type="hidden" name="code" value=(code);
            button type="submit" { "Confirm" }
        }
    })
}

/// What the page for finishing a sign-up shows.
struct Asked<'a> {
    code: &'a str,
    news: Option<&'a str>,
    faults: &'a [FieldError],
}

impl Asked<'_> {
    fn page(&self, visitor: &Visitor) -> Markup {
        let password = Input::password("password", "Password")
            .hint("The one that you chose when you signed up. It is not needed to confirm another address.")
            .optional();
        let code = Input::text("code", "The code")
            .hint("From the mail that you got.")
            .autocomplete("one-time-code")
            .value(self.code)
            .faults(self.faults, "code");
        let (code, password) = match self.code.is_empty() {
            true => (code.focus(), password),
            false => (code, password.focus()),
        };
        Frame::new("Confirm your address").narrow(html! {
            h1 { "Confirm your address" }
            @if let Some(words) = self.news { (notice(Tone::Bad, words)) }
            form method="post" action="/console/verify" {
                (token(&visitor.token()))
                (code.show())
                (password.show())
                button type="submit" { "Confirm" }
            }
            p.quiet {
                "You do not know the password any more? "
                a href="/console/sign-up" { "Sign up again" } "."
            }
        })
    }
}

async fn verify(
    State(console): State<Console>,
    signed_in: Result<SignedIn, Trouble>,
    visitor: Visitor,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of_visitor(&visitor)?;
    let platform = &console.platform;
    let text = fields.trimmed("code");
    let code = Secret::new(text);
    if let Some((person, _)) = platform.find_email_code(&code).await? {
        let Ok(signed_in) = signed_in else {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("code", text)
                .finish();
            return Ok(to_sign_in(&format!("/console/verify?{query}")));
        };
        if person.id != signed_in.person.id {
            return Ok(not_theirs());
        }
        let email = platform.confirm_email(person.id, &code).await?;
        let act = signed_in.act("person.email.change", person.id);
        platform.note(act.with("email", email)).await;
        return Ok(go("/console/profile?news=confirmed"));
    }
    let password = fields.secret("password");
    let made = platform.finish_sign_up(&code, &password, visitor.peer);
    let asked = |news: Option<&str>, faults: &[FieldError]| {
        let asked = Asked {
            code: text,
            news,
            faults,
        };
        asked.page(&visitor)
    };
    match made.await {
        Ok(person) => {
            platform
                .note_person(person.id, "person.sign_up", person.id, visitor.peer)
                .await;
            let next = "/console/profile?news=welcome";
            Ok(session::arrive(platform, &visitor, person.id, next).await?)
        }
        Err(SignInFailure::Other(error)) if !error.fields.is_empty() => {
            let page = asked(None, &error.fields);
            Ok(Page::with_status(status_of(&error), page))
        }
        Err(SignInFailure::Other(error)) if error.kind == pilvi_model::Kind::Conflict => {
            let page = asked(Some(&sentence(&error)), &[]);
            Ok(Page::with_status(status_of(&error), page))
        }
        Err(SignInFailure::Other(error)) => Err(error.into()),
        Err(SignInFailure::Wrong) => {
            let words = "This is not the password that was chosen when this address signed up. If you did not sign up \
                         yourself, sign up now: the code of somebody else then serves nobody.";
            let page = asked(Some(words), &[]);
            Ok(Page::with_status(StatusCode::UNAUTHORIZED, page))
        }
        Err(failure) => {
            let refusal = Refusal::from(failure);
            let page = asked(Some(&capital(&refusal.message)), &[]);
            Ok(Page::with_status(refusal.status, page).retry_after(refusal.retry_after))
        }
    }
}
