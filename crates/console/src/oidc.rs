//! Signing in with an account somewhere else: the way to a provider and back, and which of them are linked.
//!
//! What waits while the browser is away is in a cookie of its own. It is `Lax`, because the browser comes back from
//! another site; the session's cookie, which is `Strict`, is not there at that moment. So whoever comes back to link
//! something is first sent on to a page of ours, which sees both.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use http::HeaderMap;
use maud::{Markup, html};
use pilvi_base::Secret;
use pilvi_platform::{Outcome, Platform, Purpose, Returned, ShownIdentity, Visit};
use pilvi_web::{Arrival, Params};

use crate::Console;
use crate::form::Form;
use crate::layout::{Frame, token};
use crate::page::{Page, Trouble, go, onward};
use crate::profile;
use crate::session::{self, SignedIn, Visitor};
use crate::text::day;

/// What a browser has with it on its way.
const COOKIE: &str = "__Host-pilvi-sign-on";
/// Sealed values are longer than the secrets of other cookies.
const VALUE_BYTES_MAX: usize = 3000;
const SECONDS: u64 = 600;

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route("/console/oidc/{provider}", get(depart))
        .route("/console/oidc/{provider}/callback", get(come_back))
        .route("/console/identities/add", post(depart_to_link))
        .route("/console/identities/link", get(ask_to_link).post(link))
        .route("/console/identities/unlink", post(unlink))
}

/// The ways to sign in that providers offer, to come back to `next`.
pub(crate) fn other_ways(platform: &Platform, next: &str) -> Markup {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("next", next)
        .finish();
    let providers: Vec<_> = platform.sign_on_providers().collect();
    html! {
        @if !providers.is_empty() {
            p.or { "or" }
            @for provider in providers {
                a.button.plain href={ "/console/oidc/" (provider.id) "?" (query) } { "Sign in with " (provider.name) }
            }
        }
    }
}

/// What is linked to a person, and what could be. Nothing where no provider is configured and nothing linked.
pub(crate) fn identities_section(
    platform: &Platform,
    identities: &[ShownIdentity],
    form: &str,
) -> Markup {
    let providers: Vec<_> = platform.sign_on_providers().collect();
    html! {
        @if !(providers.is_empty() && identities.is_empty()) {
            section id="identities" {
                h2 { "Other ways to sign in" }
                p.quiet { "Whoever is signed in there can sign in here as you." }
                @if !identities.is_empty() {
                    ul.rows {
                        @for identity in identities {
                            li {
                                div.what {
                                    strong { (identity.provider) }
                                    @if let Some(label) = &identity.record.label { p { (label) } }
                                    p {
                                        "Linked on " (day(identity.record.created_at))
                                        ", last used on " (day(identity.record.used_at))
                                    }
                                }
                                form method="post" action="/console/identities/unlink" {
                                    (token(form))
                                    input type="hidden" name="id" value=(identity.record.id);
                                    button.danger type="submit" { "Unlink" }
                                }
                            }
                        }
                    }
                }
                form.add.several method="post" action="/console/identities/add" {
                    (token(form))
                    @for provider in providers {
                        button.plain type="submit" name="provider" value=(provider.id) { "Link " (provider.name) }
                    }
                }
            }
        }
    }
}

async fn depart(
    State(console): State<Console>,
    Path(provider): Path<String>,
    arrival: Arrival,
    params: Params,
) -> Result<Page, Trouble> {
    let next = params.given("next").map(str::to_owned);
    let platform = &console.platform;
    let base = platform.address_for(&arrival);
    let purpose = Purpose::SignIn { next };
    let departure = platform.depart(&provider, &base, purpose).await?;
    Ok(go(&departure.url).with_cookie(&cookie(&departure.flow)))
}

/// A form may lead to our own pages only, so it leads to one that sends the browser on.
async fn depart_to_link(
    State(console): State<Console>,
    signed_in: SignedIn,
    arrival: Arrival,
    form: Form,
) -> Result<Page, Trouble> {
    let fields = form.of(&signed_in)?;
    let platform = &console.platform;
    let base = platform.address_for(&arrival);
    let purpose = Purpose::Link(signed_in.person.id);
    let departure = platform.depart(fields.text("provider"), &base, purpose);
    let departure = departure.await?;
    Ok(onward(&departure.url).with_cookie(&cookie(&departure.flow)))
}

async fn come_back(
    State(console): State<Console>,
    Path(provider): Path<String>,
    visitor: Visitor,
    arrival: Arrival,
    headers: HeaderMap,
    params: Params,
) -> Result<Page, Trouble> {
    let platform = &console.platform;
    let given = |name| params.given(name).map(str::to_owned);
    let returned = Returned {
        code: given("code").map(Secret::new),
        state: given("state").map(Secret::new),
        issuer: given("iss"),
        error: given("error"),
    };
    let flow = waiting(&headers);
    let visit = visit(&arrival);
    let outcome = platform.come_back(&provider, flow.as_ref(), returned, &visit);
    let page = match outcome.await {
        Err(error) => return Err(Trouble::from(error).with_cookie(&no_cookie())),
        Ok(Outcome::SignedIn { person, next }) => {
            let next = next.unwrap_or_default();
            platform
                .note_person(person, "person.sign_in", person, visitor.peer)
                .await;
            let page = session::arrive_from_elsewhere(platform, &visitor, person, &next);
            page.await?.with_cookie(&no_cookie())
        }
        Ok(Outcome::MayLink { voucher }) => {
            onward("/console/identities/link").with_cookie(&cookie(&voucher))
        }
    };
    Ok(page)
}

async fn ask_to_link(
    State(console): State<Console>,
    signed_in: SignedIn,
    headers: HeaderMap,
) -> Result<Page, Trouble> {
    let Some(voucher) = waiting(&headers) else {
        return Ok(go("/console/profile"));
    };
    let platform = &console.platform;
    let offered = platform.offered_identity(signed_in.person.id, &voucher)?;
    let title = format!("Link {}?", offered.provider);
    let frame = Frame::new(&title).of(&signed_in);
    Ok(Page::ok(frame.narrow(html! {
        h1 { (title) }
        p {
            "From now on, whoever signs in at " (offered.provider) " as " strong { (offered.label) }
            " is signed in here as " strong { (signed_in.person.email) } "."
        }
        form method="post" action="/console/identities/link" {
            (token(&signed_in.token()))
            button type="submit" { "Link it" }
        }
        p.quiet { a href="/console/profile" { "Do not link it" } }
    })))
}

async fn link(
    State(console): State<Console>,
    signed_in: SignedIn,
    arrival: Arrival,
    headers: HeaderMap,
    form: Form,
) -> Result<Page, Trouble> {
    form.of(&signed_in)?;
    let Some(voucher) = waiting(&headers) else {
        return Ok(go("/console/profile"));
    };
    let (person, visit) = (signed_in.person.id, visit(&arrival));
    let linked = console.platform.link_identity(person, &voucher, &visit);
    match linked.await {
        Ok(()) => Ok(go("/console/profile?news=linked").with_cookie(&no_cookie())),
        Err(error) => Err(Trouble::from(error).with_cookie(&no_cookie())),
    }
}

async fn unlink(
    State(console): State<Console>,
    signed_in: SignedIn,
    arrival: Arrival,
    form: Form,
) -> Result<Page, Trouble> {
    let id = form.of(&signed_in)?.number("id").unwrap_or_default();
    let person = signed_in.person.id;
    let visit = visit(&arrival);
    let outcome = console.platform.unlink_identity(person, id, &visit).await;
    profile::done(&console, &signed_in, outcome, "unlinked").await
}

fn visit(arrival: &Arrival) -> Visit {
    Visit {
        request: arrival.request_id.clone(),
        peer: arrival.peer.ip(),
    }
}

fn waiting(headers: &HeaderMap) -> Option<Secret> {
    session::cookie_value_within(headers, COOKIE, VALUE_BYTES_MAX)
}

fn cookie(value: &Secret) -> String {
    session::cookie(COOKIE, value.expose(), "Lax", Some(SECONDS))
}

fn no_cookie() -> String {
    session::cookie(COOKIE, "", "Lax", Some(0))
}
