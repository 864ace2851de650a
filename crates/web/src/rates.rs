//! How often one may ask, at the door: who counts as whom, and what whoever asks too often hears.
//!
//! | who asks | counts as |
//! | --- | --- |
//! | a token that was good at this service | itself, and its person with all of theirs |
//! | anybody else: no token, a wrong one, one that comes for the first time | the address they come from |
//!
//! That holds for the control plane. Of requests for objects and messages only wrong tokens are counted, since there a
//! whole app may stand behind one token or one address: their load is shared out between tenants instead
//! (`pilvi_core::fairness`). Where wrong tokens came too often, unknown ones are not looked at for a while; known ones
//! pass, so nobody is shut out by a neighbour behind the same address. What calls in process is not counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pilvi_core::Rates;
use pilvi_core::rate::{Key, Left, Rate, Spent};
use pilvi_model::{PersonId, Result};

use crate::{Arrival, Refusal, Service};

/// As the working group on HTTP drafts them (draft-ietf-httpapi-ratelimit-headers).
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Where clients carry what says who they are; the second and the third only those of EDS do.
static CREDENTIALS: [HeaderName; 3] = [
    AUTHORIZATION,
    HeaderName::from_static("enginio-backend-masterkey"),
    HeaderName::from_static("enginio-backend-session"),
];

/// One request, as far as it is counted.
pub(crate) struct Visit<'a> {
    rates: &'a Rates,
    service: Service,
    peer: IpAddr,
    token: Option<Token>,
    taken: Option<Taken>,
    refused: Option<Refusal>,
    /// What the service says about the token, if it does.
    visitor: Visitor,
}

#[derive(Clone, Copy)]
struct Token {
    key: Key,
    /// It was good when it came last.
    is_known: bool,
}

/// What the request took from a bucket, for its sender to see.
struct Taken {
    name: &'static str,
    rate: Rate,
    left: Result<Left, Spent>,
}

/// Whoever sent a request, to be told who they are once that is known. An extractor.
#[derive(Clone, Default)]
pub struct Visitor(Option<Arc<Known>>);

struct Known {
    rates: Rates,
    is_good: AtomicBool,
}

impl Visitor {
    /// The token is good, and it is this person's.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::OverLimit`] when the person asks too often.
    pub fn is_person(&self, person: PersonId) -> Result<()> {
        let Some(known) = &self.0 else {
            return Ok(());
        };
        known.is_good.store(true, Ordering::Relaxed);
        known.rates.take_person(person)
    }

    /// The token is good, and no person's.
    pub fn is_good(&self) {
        if let Some(known) = &self.0 {
            known.is_good.store(true, Ordering::Relaxed);
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

impl<'a> Visit<'a> {
    /// Counts a request that begins. `None`: it is not counted.
    pub(crate) fn begin(
        rates: Option<&'a Rates>,
        service: Service,
        arrival: &Arrival,
        headers: &HeaderMap,
    ) -> Option<Self> {
        let rates = rates.filter(|_| !arrival.is_in_process())?;
        let mut visit = Self {
            rates,
            service,
            peer: arrival.peer.ip(),
            token: token(rates, service, headers),
            taken: None,
            refused: None,
            visitor: Visitor::default(),
        };
        visit.refused = visit.take();
        Some(visit)
    }

    /// Why the request is not carried out, if so.
    pub(crate) fn refused(&mut self) -> Option<Refusal> {
        self.refused.take()
    }

    /// What the service's extractors find in the request.
    pub(crate) fn visitor(&self) -> Option<Visitor> {
        self.visitor.0.is_some().then(|| self.visitor.clone())
    }

    fn take(&mut self) -> Option<Refusal> {
        let is_known = self.token.is_some_and(|token| token.is_known);
        if self.token.is_some()
            && !is_known
            && let Err(spent) = self.rates.check_failures(self.peer)
        {
            return Some(too_many(
                spent,
                "too many requests with a wrong token came from your address",
            ));
        }
        if !is_counted(self.service) {
            return None;
        }
        let settings = self.rates.settings();
        let taken = match self.token {
            Some(Token {
                key,
                is_known: true,
            }) => Taken {
                name: "token",
                rate: settings.token,
                left: self.rates.take_token(key),
            },
            _ => Taken {
                name: "address",
                rate: settings.peer,
                left: self.rates.take_peer(self.peer),
            },
        };
        let refused = taken.left.err().map(|spent| {
            let Taken { name, rate, .. } = &taken;
            let why = format!(
                "more requests came with your {name} than the {} a second that may",
                rate.per_second
            );
            too_many(spent, &why)
        });
        self.taken = Some(taken);
        if tells_who_asks(self.service) {
            self.visitor = Visitor(Some(Arc::new(Known {
                rates: self.rates.clone(),
                is_good: AtomicBool::new(false),
            })));
        }
        refused
    }

    /// Learns from the answer, and says in it how much is left.
    pub(crate) fn end(self, response: &mut Response) {
        let was_good = match &self.visitor.0 {
            Some(known) => known.is_good.load(Ordering::Relaxed),
            None => response.status().is_success(),
        };
        match self.token {
            Some(token) if response.status() == StatusCode::UNAUTHORIZED => {
                self.rates.failed(token.key, self.peer);
            }
            Some(token) if was_good && !token.is_known => self.rates.welcome(token.key),
            _ => {}
        }
        if let Some(taken) = self.taken {
            taken.tell(response.headers_mut());
        }
    }
}

/// Whether a service's requests are counted, or shared out between tenants instead.
fn is_counted(service: Service) -> bool {
    !matches!(service, Service::Eds | Service::Mws)
}

/// Whether a service tells its [`Visitor`] whose token it is. With the others a token is good when the answer is: git
/// lets nobody in without one.
fn tells_who_asks(service: Service) -> bool {
    is_counted(service) && service != Service::Git
}

/// The first thing in a request that says who sends it.
fn token(rates: &Rates, service: Service, headers: &HeaderMap) -> Option<Token> {
    let places = match service {
        Service::Eds => &CREDENTIALS[..],
        _ => &CREDENTIALS[..1],
    };
    let values = places.iter().filter_map(|name| headers.get(name));
    let secret = values.map(secret).find(|secret| !secret.is_empty())?;
    let key = rates.token(service, secret);
    Some(Token {
        key,
        is_known: rates.is_known(key),
    })
}

/// What comes behind a scheme such as `Bearer`, however that is spelled.
fn secret(value: &HeaderValue) -> &[u8] {
    let text = value.as_bytes().trim_ascii();
    match text.iter().rposition(u8::is_ascii_whitespace) {
        Some(blank) => &text[blank + 1..],
        // A scheme alone is no token: one client sends that when it has none.
        None if text.eq_ignore_ascii_case(b"bearer") => b"",
        None => text,
    }
}

impl Taken {
    fn tell(&self, headers: &mut HeaderMap) {
        if self.rate.per_second == 0 {
            return;
        }
        let (remaining, reset) = match self.left {
            Ok(left) => (left.requests, left.full_in),
            Err(spent) => (0, spent.retry_after),
        };
        let Rate { burst, per_second } = self.rate;
        let window = burst.div_ceil(per_second).max(1);
        let policy = format!("\"{}\";q={burst};w={window}", self.name);
        let now = format!("\"{}\";r={remaining};t={}", self.name, whole_seconds(reset));
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, now)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

fn too_many(spent: Spent, why: &str) -> Refusal {
    let seconds = whole_seconds(spent.retry_after).max(1);
    let message = format!("{why}; try again in {seconds} s");
    let mut refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, message);
    refusal.retry_after = Some(Duration::from_secs(seconds));
    refusal
}

/// Rounded up: whoever waits so long has waited long enough.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_same_however_its_scheme_is_spelled() {
        for (header, found) in [
            ("Bearer abc", "abc"),
            ("BEARER  abc ", "abc"),
            ("Basic eDp5", "eDp5"),
            ("abc", "abc"),
            ("Bearer", ""),
            ("bearer ", ""),
            ("", ""),
        ] {
            let header = HeaderValue::from_static(header);
            assert_eq!(secret(&header), found.as_bytes(), "{header:?}");
        }
    }

    #[test]
    fn who_waits_as_long_as_told_has_waited_long_enough() {
        for (millis, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
