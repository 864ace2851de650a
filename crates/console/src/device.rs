//! The page where somebody decides whether a program may sign in as them.
//!
//! Its danger is that somebody sends their own code around and waits. So the page asks for the code, shows who asks and
//! from where, warns where that is somewhere else, and changes nothing until a button is pressed.

use std::net::IpAddr;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use maud::{Markup, html};
use pilvi_model::Kind;
use pilvi_platform::{SignInFailure, Visit};
use pilvi_store::platform::{Decision, DeviceCode};
use pilvi_web::{Arrival, Params};

use crate::Console;
use crate::form::Form;
use crate::layout::{Frame, Input, Tone, notice, token};
use crate::page::{Page, Trouble, sentence, status_of};
use crate::session::SignedIn;
use crate::text::moment;

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route("/console/device", get(show))
        .route("/console/device/decide", post(decide))
}

async fn show(
    State(console): State<Console>,
    signed_in: SignedIn,
    params: Params,
) -> Result<Page, Trouble> {
    let Some(typed) = params.given("user_code") else {
        return Ok(Page::ok(ask(&signed_in, "", None)));
    };
    let person = signed_in.person.id;
    let found = console
        .platform
        .find_device_login(person, typed, signed_in.peer);
    match found.await {
        Ok(code) => Ok(Page::ok(question(&signed_in, &code))),
        Err(failure) => refused(&signed_in, typed, failure),
    }
}

/// Where somebody types a code.
fn ask(signed_in: &SignedIn, typed: &str, fault: Option<&str>) -> Markup {
    let frame = Frame::new("Sign in a program").of(signed_in);
    frame.narrow(html! {
        h1 { "Sign in a program" }
        @if let Some(fault) = fault { (notice(Tone::Bad, fault)) }
        p { "Enter the code that the program shows you." }
        form method="get" action="/console/device" {
            (Input::text("user_code", "The code").value(typed).hint("Eight letters, such as WDJB-MJHT.").focus().show())
            button type="submit" { "Go on" }
        }
    })
}

fn question(signed_in: &SignedIn, code: &DeviceCode) -> Markup {
    let frame = Frame::new("Sign in a program").of(signed_in);
    let elsewhere = is_elsewhere(&code.peer, signed_in.peer);
    frame.narrow(html! {
        h1 { "Sign in this program?" }
        p { "It shows this code, if it is yours:" }
        p.usercode id="user-code" { (code.user_code) }
        dl {
            dt { "It calls itself" }
            dd id="client" { (code.client) }
            dt { "It asks from" }
            dd id="from" { (code.peer) @if !elsewhere { ", where you are, too" } }
            dt { "Since" }
            dd { (moment(code.created_at)) }
            dt { "It would be signed in as" }
            dd { (signed_in.person.email) }
        }
        @if elsewhere {
            (notice(Tone::Bad, &format!(
                "It asks from another address than yours, which is {}. That is right if the program runs on another \
                 machine, and a trick if somebody sent you here.", signed_in.peer.to_canonical()
            )))
        }
        p {
            "It could then do all that you may, until its token is deleted on your profile page. Sign it in only if "
            "you started it yourself, just now, and it shows this very code. If somebody sent you here, deny it."
        }
        form method="post" action="/console/device/decide" {
            (token(&signed_in.token()))
            input type="hidden" name="user_code" value=(code.user_code);
            button type="submit" name="decision" value="approve" { "Sign it in" }
            button.danger type="submit" name="decision" value="deny" { "Deny" }
        }
    })
}

async fn decide(
    State(console): State<Console>,
    signed_in: SignedIn,
    arrival: Arrival,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of(&signed_in)?;
    // Whatever is not plainly a yes is a no.
    let decision = match fields.text("decision") {
        "approve" => Decision::Approved,
        _ => Decision::Denied,
    };
    let visit = Visit {
        request: arrival.request_id,
        peer: signed_in.peer,
    };
    let typed = fields.text("user_code");
    let decided =
        console
            .platform
            .decide_device_login(signed_in.person.id, typed, decision, &visit);
    let code = match decided.await {
        Ok(code) => code,
        Err(failure) => return refused(&signed_in, typed, failure),
    };
    let (title, tone, words) = match decision {
        Decision::Approved => (
            "It is signed in",
            Tone::Good,
            format!(
                "{} is signed in as you. Go back to it; this page can be closed.",
                code.client
            ),
        ),
        Decision::Denied => (
            "It was denied",
            Tone::Plain,
            format!(
                "{} is not signed in. Nothing else has changed.",
                code.client
            ),
        ),
    };
    Ok(Page::ok(Frame::new(title).of(&signed_in).narrow(html! {
        h1 { (title) }
        (notice(tone, &words))
        p.quiet { a href="/console/profile" { "Go to your profile" } }
    })))
}

/// The page to type a code again, with what was wrong, or whatever else goes wrong.
fn refused(signed_in: &SignedIn, typed: &str, failure: SignInFailure) -> Result<Page, Trouble> {
    match failure {
        SignInFailure::Other(error) if error.kind == Kind::NotFound => {
            let page = ask(signed_in, typed, Some(&sentence(&error)));
            Ok(Page::with_status(status_of(&error), page))
        }
        failure => Err(failure.into()),
    }
}

/// Whether a program asks from another address than the browser's. Loopback is always this machine.
fn is_elsewhere(peer: &str, browser: IpAddr) -> bool {
    let browser = browser.to_canonical();
    let peer = peer.parse::<IpAddr>().ok();
    peer.is_none_or(|peer| peer != browser && !(peer.is_loopback() && browser.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_address_is_noticed() {
        for (peer, browser, elsewhere) in [
            ("192.0.2.1", "192.0.2.1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", false),
            ("192.0.2.1", "192.0.2.2", true),
            ("127.0.0.1", "::1", false),
            ("127.0.0.1", "192.0.2.1", true),
            ("192.0.2.1", "127.0.0.1", true),
            ("nonsense", "127.0.0.1", true),
        ] {
            let found = is_elsewhere(peer, browser.parse().unwrap());
            assert_eq!(found, elsewhere, "{peer} {browser}");
        }
    }
}
