//! Who is behind a request, and which forms are heard.
//!
//! A browser has up to two cookies. `__Host-pilvi` holds the secret of a session: it is `Strict`, so no other site can
//! make the browser send it. `__Host-pilvi-visit` is only there to tell one browser from another before anybody signs
//! in; it is `Lax`, so that it also comes along when somebody arrives by a link in a mail. A form carries a token that
//! is computed from the one of the two that its page goes by, and is heard only when it comes from this site itself.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::header::{COOKIE, HeaderName, HeaderValue, ORIGIN, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method};
use pilvi_base::Secret;
use pilvi_base::secret::{hex, random_hex, sha256};
use pilvi_core::{Act, Actor};
use pilvi_model::Result;
use pilvi_platform::Platform;
use pilvi_store::platform::{Person, Session};
use pilvi_web::Arrival;

use crate::Console;
use crate::page::{self, Page, Trouble, onward, to_sign_in};

const SESSION: &str = "__Host-pilvi";
const VISIT: &str = "__Host-pilvi-visit";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A browser of which no more is known than that it is the same as before.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    secret: Secret,
    /// The browser does not have the cookie yet.
    is_new: bool,
    pub(crate) peer: IpAddr,
    pub(crate) agent: String,
}

/// A person in a browser that they signed in with.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    secret: Secret,
    pub(crate) session: Session,
    pub(crate) person: Person,
    pub(crate) peer: IpAddr,
}

impl Visitor {
    /// What the forms of a visitor's page carry.
    pub(crate) fn token(&self) -> String {
        form_token(&self.secret)
    }

    /// Whether a form was on a page that this browser was given.
    pub(crate) fn knows(&self, token: &str) -> bool {
        !self.is_new && Secret::new(token) == Secret::new(self.token())
    }

    /// Gives the browser its cookie, if it has none.
    pub(crate) fn sign(&self, page: Page) -> Page {
        match self.is_new {
            true => page.with_cookie(&cookie(VISIT, self.secret.expose(), "Lax", None)),
            false => page,
        }
    }
}

impl SignedIn {
    /// What the forms of a signed-in person's page carry.
    pub(crate) fn token(&self) -> String {
        form_token(&self.secret)
    }

    pub(crate) fn knows(&self, token: &str) -> bool {
        Secret::new(token) == Secret::new(self.token())
    }

    /// Something that this person did, for the audit log.
    pub(crate) fn act(&self, event: &'static str, subject: impl ToString) -> Act {
        let mut act = Act::new(Actor::Person(self.person.id), event, subject);
        act.peer = Some(self.peer.to_canonical());
        act
    }
}

/// Begins a session and sends the browser on with its cookie. `next` is a path of the console.
pub(crate) async fn arrive(
    platform: &Platform,
    visitor: &Visitor,
    person: pilvi_model::PersonId,
    next: &str,
) -> Result<Page> {
    begin(platform, visitor, person, page::go(safe_path(next))).await
}

/// The same for a browser that another site sent: it keeps the cookie to itself until a page of ours sends it on.
pub(crate) async fn arrive_from_elsewhere(
    platform: &Platform,
    visitor: &Visitor,
    person: pilvi_model::PersonId,
    next: &str,
) -> Result<Page> {
    begin(platform, visitor, person, onward(safe_path(next))).await
}

async fn begin(
    platform: &Platform,
    visitor: &Visitor,
    person: pilvi_model::PersonId,
    page: Page,
) -> Result<Page> {
    let (secret, _) = platform
        .start_session(person, &visitor.agent, visitor.peer)
        .await?;
    let life = Some(Platform::SESSION_LIFE.as_secs());
    Ok(page.with_cookie(&cookie(SESSION, secret.expose(), "Strict", life)))
}

/// Takes the session's cookie from the browser.
pub(crate) fn leave(page: Page) -> Page {
    page.with_cookie(&cookie(SESSION, "", "Strict", Some(0)))
}

/// A path of the console that somebody may be sent to, whatever was asked for.
pub(crate) fn safe_path(wanted: &str) -> &str {
    const HOME: &str = "/console/profile";
    let is_path = wanted.starts_with("/console/")
        && wanted.len() <= 500
        && !wanted.contains("//")
        && !wanted.contains("..")
        && wanted
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path { wanted } else { HOME }
}

pub(crate) fn cookie(name: &str, value: &str, same_site: &str, seconds: Option<u64>) -> String {
    let age = seconds.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
    format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}{age}")
}

fn form_token(secret: &Secret) -> String {
    let text = format!("form {}", secret.expose());
    hex(&sha256(text.as_bytes())[..16])
}

/// The value of a cookie; `None`: there is none, or more than one, of which one is not ours.
fn cookie_value(headers: &HeaderMap, name: &str) -> Option<Secret> {
    cookie_value_within(headers, name, 200)
}

/// The same for one that may be longer.
pub(crate) fn cookie_value_within(
    headers: &HeaderMap,
    name: &str,
    bytes_max: usize,
) -> Option<Secret> {
    let mut found = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| value);
    let value = found
        .next()
        .filter(|value| !value.is_empty() && value.len() <= bytes_max)?;
    found.next().is_none().then(|| Secret::new(value))
}

fn agent(headers: &HeaderMap) -> String {
    let agent = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    agent.unwrap_or_default().to_owned()
}

/// Whether a request that changes something comes from a page of this very site.
pub(crate) fn is_from_here(headers: &HeaderMap, arrival: &Arrival) -> bool {
    let site = headers.get(FETCH_SITE).and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    match headers.get(ORIGIN) {
        // Older browsers and programs say nothing; the form's token is enough then.
        None => true,
        Some(origin) => is_ours(origin, arrival),
    }
}

/// A proxy in front of us may have taken the TLS away, so both schemes are ours, but plain HTTP is not where we are
/// reached by TLS.
fn is_ours(origin: &HeaderValue, arrival: &Arrival) -> bool {
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let host = match origin.split_once("://") {
        Some(("https", host)) => host,
        Some(("http", host)) if !arrival.secure => host,
        _ => return false,
    };
    host.eq_ignore_ascii_case(&arrival.host)
}

impl FromRequestParts<Console> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Infallible> {
        let arrival = Arrival::from_request_parts(parts, console).await?;
        let known = cookie_value(&parts.headers, VISIT);
        Ok(Self {
            is_new: known.is_none(),
            secret: known.unwrap_or_else(|| Secret::new(random_hex::<16>())),
            peer: arrival.peer.ip(),
            agent: agent(&parts.headers),
        })
    }
}

impl FromRequestParts<Console> for SignedIn {
    type Rejection = Trouble;

    /// Whoever is not signed in is sent to the page where they can be, and from there back.
    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Trouble> {
        if let Maybe(Some(signed_in)) = Maybe::from_request_parts(parts, console).await? {
            return Ok(signed_in);
        }
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let is_look = parts.method == Method::GET;
        let site = parts.headers.get(FETCH_SITE);
        // A browser that follows a link from another site keeps the cookie back once.
        if is_look && site.is_some_and(|site| site == "cross-site") {
            return Err(Trouble::page(onward(safe_path(path))));
        }
        Err(Trouble::page(to_sign_in(if is_look { path } else { "" })))
    }
}

/// Whoever is signed in, on pages that are for everybody.
pub(crate) struct Maybe(pub(crate) Option<SignedIn>);

impl FromRequestParts<Console> for Maybe {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Trouble> {
        let Ok(arrival) = Arrival::from_request_parts(parts, console).await;
        let Some(secret) = cookie_value(&parts.headers, SESSION) else {
            return Ok(Self(None));
        };
        let found = console.platform.find_session(&secret).await?;
        Ok(Self(found.map(|(session, person)| SignedIn {
            secret,
            session,
            person,
            peer: arrival.peer.ip(),
        })))
    }
}

#[cfg(test)]
mod tests {
    use pilvi_model::RequestId;

    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for path in ["/console/device?user_code=ABCD-EFGH", "/console/profile"] {
            assert_eq!(safe_path(path), path);
        }
        for path in [
            "",
            "/",
            "//evil.example",
            "https://evil.example",
            "/console/../v1",
            "/console//evil.example",
            "/console/\\evil",
            "/console/a\r\nSet-Cookie: x",
            "/v1/user",
        ] {
            assert_eq!(safe_path(path), "/console/profile", "{path}");
        }
    }

    #[test]
    fn of_two_cookies_with_one_name_none_is_taken() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, "a=1; __Host-pilvi=secret; b=2".parse().unwrap());
        assert_eq!(cookie_value(&headers, SESSION), Some(Secret::new("secret")));
        assert_eq!(cookie_value(&headers, VISIT), None);
        headers.append(COOKIE, "__Host-pilvi=planted".parse().unwrap());
        assert_eq!(cookie_value(&headers, SESSION), None);
    }

    #[test]
    fn only_this_site_sends_forms() {
        let arrival = |secure| Arrival {
            secure,
            ..Arrival::in_process("cloud.example:8443", RequestId::from_bytes([1; 16]))
        };
        let heard = |pairs: &[(&'static str, &'static str)], secure| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            is_from_here(&headers, &arrival(secure))
        };
        assert!(heard(&[], true));
        assert!(heard(&[("origin", "https://cloud.example:8443")], true));
        assert!(heard(&[("origin", "https://cloud.example:8443")], false));
        assert!(heard(&[("origin", "http://cloud.example:8443")], false));
        assert!(!heard(&[("origin", "http://cloud.example:8443")], true));
        assert!(!heard(&[("origin", "https://cloud.example")], true));
        assert!(!heard(&[("origin", "https://evil.example")], true));
        assert!(!heard(&[("origin", "null")], true));
        assert!(!heard(&[("sec-fetch-site", "same-site")], true));
        assert!(!heard(&[("sec-fetch-site", "cross-site")], true));
        assert!(heard(&[("sec-fetch-site", "same-origin")], true));
    }
}
