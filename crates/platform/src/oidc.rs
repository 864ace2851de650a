//! Single sign-on by OpenID Connect: people sign in with an account that they have at a provider.
//!
//! The browser goes to the provider with three values that this server drew: a `state` that must come back, a `nonce`
//! that must be in what the provider signs, and the digest of a `verifier` without which its code is worth nothing.
//! They wait in the browser itself, sealed (`flow.rs`), so that nobody can fill the server with sign-ins that never
//! end. Each provider has a callback of its own: what one says is never taken for the words of another.
//!
//! A person is known by issuer and subject. An address helps at the first meeting only, and only where the provider
//! says that it verified it and the person here has proven it as well: an address that somebody merely typed, on
//! either side, opens nothing.

mod flow;
mod id_token;
mod keys;
mod provider;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use form_urlencoded::Serializer;
use lru::LruCache;
use pilvi_base::secret::{random_bytes, random_hex, sha256};
use pilvi_base::{Clock, Secret};
use pilvi_core::egress::check_target;
use pilvi_core::{Act, Actor};
use pilvi_model::{Error, PersonId, RequestId, Result};
use pilvi_store::platform::{Admission, LinkedIdentity, NewIdentity, Person, SignedOn};

use crate::drafts::{Faults, is_control};
use crate::people::Letter;
use crate::{Platform, Registration};
use flow::{Flow, Voucher};
use id_token::Claims;
use provider::{Exchange, Provider};

/// A person's identities are counted: each is a way in.
const IDENTITIES_PER_PERSON_MAX: u32 = 10;
/// Sign-ins that came back are remembered, so that none comes back twice.
const SPENT_MAX: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("it is not zero");
const LABEL_CHARS_MAX: usize = 100;

/// A provider that the operator chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSettings {
    /// What people know it by.
    name: String,
    /// Letters, digits and hyphens: the provider's part of our own addresses.
    id: String,
    issuer: String,
    client_id: String,
    client_secret: Option<Secret>,
}

impl ProviderSettings {
    /// Without a name the issuer's host is one.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn new(
        issuer: &str,
        client_id: &str,
        client_secret: Option<Secret>,
        name: Option<&str>,
    ) -> Result<Self> {
        let refuse = |why: &str| Err(Error::invalid("oidc-issuer", format!("`{issuer}` {why}")));
        let target = match check_target(issuer) {
            Ok(target) => target,
            Err(why) => return refuse(why),
        };
        if issuer.contains(['?', '#']) {
            return refuse("must be the bare address of the issuer, without `?` and `#`");
        }
        let host = target.host().unwrap_or_default();
        let is_local = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
        if target.scheme_str() != Some("https") && !is_local {
            return refuse("must begin with https://, because passwords depend on it");
        }
        if client_id.trim().is_empty() {
            let why = "is required: the provider gives it out where this server is registered";
            return Err(Error::invalid("oidc-client-id", why));
        }
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        let name = name.unwrap_or(host);
        let id = slug(name);
        if id.is_empty() || name.chars().count() > LABEL_CHARS_MAX {
            let why = "must have letters or digits, and at most 100 characters";
            return Err(Error::invalid("oidc-name", format!("`{name}` {why}")));
        }
        Ok(Self {
            name: name.to_owned(),
            id,
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: client_secret.filter(|secret| !secret.expose().is_empty()),
        })
    }

    /// Refuses providers that could not be told apart.
    pub fn check_all(providers: &[Self]) -> Result<()> {
        for (at, provider) in providers.iter().enumerate() {
            if providers[..at].iter().any(|other| other.id == provider.id) {
                let why = format!(
                    "is `{}` for two providers; give each its own",
                    provider.name
                );
                return Err(Error::invalid("oidc-name", why));
            }
            let is_same = |other: &Self| other.issuer == provider.issuer;
            if providers[..at].iter().any(is_same) {
                let why = format!("is `{}` twice", provider.issuer);
                return Err(Error::invalid("oidc-issuer", why));
            }
        }
        Ok(())
    }

    /// The path that must be registered at the provider, behind each address under which this server is reached.
    pub fn callback_path(&self) -> String {
        format!("/console/oidc/{}/callback", self.id)
    }
}

/// `Example Inc.` as `example-inc`.
fn slug(name: &str) -> String {
    let plain = name.to_lowercase();
    let words = plain.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// The providers of this server.
#[derive(Clone)]
pub(crate) struct SignOn(Arc<Parts>);

struct Parts {
    providers: Vec<Provider>,
    /// Digests of states that came back. A plain mutex: held for one look-up.
    spent: Mutex<LruCache<[u8; 32], ()>>,
}

/// A provider, as a page offers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedProvider<'a> {
    pub id: &'a str,
    pub name: &'a str,
}

/// Why a browser goes to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To sign in, and then to go on at a path of ours.
    SignIn { next: Option<String> },
    /// To link what is there to a person who is signed in.
    Link(PersonId),
}

/// A browser's way to a provider.
#[derive(Debug)]
pub struct Departure {
    /// Where it goes.
    pub url: String,
    /// What it must have with it when it comes back, and nobody else may have.
    pub flow: Secret,
}

/// What a browser brings back in its address.
#[derive(Debug, Default)]
pub struct Returned {
    pub code: Option<Secret>,
    pub state: Option<Secret>,
    /// The issuer that sent it, where it says so (RFC 9207).
    pub issuer: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// Where a sign-in comes from, for the audit log.
#[derive(Clone, Debug)]
pub struct Visit {
    pub request: RequestId,
    pub peer: IpAddr,
}

/// What a way to a provider and back led to.
#[derive(Debug)]
pub enum Outcome {
    /// Somebody may have a session now.
    SignedIn {
        person: PersonId,
        next: Option<String>,
    },
    /// The browser holds an identity, which the person may link.
    MayLink { voucher: Secret },
}

/// An identity that may be linked, for a page that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedIdentity {
    pub provider: String,
    pub label: String,
}

/// An identity that is linked, for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownIdentity {
    pub provider: String,
    pub record: LinkedIdentity,
}

impl SignOn {
    pub(crate) fn new(providers: &[ProviderSettings], clock: &Clock) -> Self {
        let providers = providers
            .iter()
            .map(|settings| Provider::new(settings.clone(), clock.clone()));
        Self(Arc::new(Parts {
            providers: providers.collect(),
            spent: Mutex::new(LruCache::new(SPENT_MAX)),
        }))
    }

    fn find(&self, id: &str) -> Result<&Provider> {
        let mut providers = self.0.providers.iter();
        let found = providers.find(|provider| provider.settings.id == id);
        found.ok_or_else(|| Error::not_found("there is no such provider of single sign-on"))
    }

    /// The name of an issuer, or the issuer itself when its provider is not configured any more.
    fn name_of(&self, issuer: &str) -> String {
        let mut providers = self.0.providers.iter();
        let known = providers.find(|provider| provider.settings.issuer == issuer);
        known
            .map_or(issuer, |known| &known.settings.name)
            .to_owned()
    }

    /// Marks a state as used. `false`: it was used before.
    fn spend(&self, state: &str) -> bool {
        let mut spent = self.0.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.put(sha256(state.as_bytes()), ()).is_none()
    }
}

impl Platform {
    /// The providers to offer where people sign in.
    pub fn sign_on_providers(&self) -> impl Iterator<Item = OfferedProvider<'_>> {
        let providers = self.sign_on.0.providers.iter();
        providers.map(|provider| OfferedProvider {
            id: &provider.settings.id,
            name: &provider.settings.name,
        })
    }

    /// Sends a browser to a provider. `base` is the address under which it reaches this server, such as
    /// `https://cloud.example.org`.
    pub async fn depart(&self, provider: &str, base: &str, purpose: Purpose) -> Result<Departure> {
        let provider = self.sign_on.find(provider)?;
        let metadata = provider.metadata().await?;
        let verifier = BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<32>());
        let flow = Flow {
            provider: provider.settings.id.clone(),
            state: random_hex::<16>(),
            nonce: random_hex::<16>(),
            callback: format!("{base}{}", provider.settings.callback_path()),
            verifier,
            purpose: purpose.into(),
            started_at: self.now().as_millis(),
        };
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(sha256(flow.verifier.as_bytes()));
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.settings.client_id)
            .append_pair("redirect_uri", &flow.callback)
            .append_pair("scope", "openid email profile")
            .append_pair("state", &flow.state)
            .append_pair("nonce", &flow.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        let page = &metadata.authorization_endpoint;
        let joint = if page.contains('?') { '&' } else { '?' };
        Ok(Departure {
            url: format!("{page}{joint}{query}"),
            flow: flow.seal(&self.keyring),
        })
    }

    /// Takes a browser in that comes back from a provider, with the flow that it left with.
    pub async fn come_back(
        &self,
        provider: &str,
        flow: Option<&Secret>,
        returned: Returned,
        visit: &Visit,
    ) -> Result<Outcome> {
        let provider = self.sign_on.find(provider)?;
        let flow = flow.and_then(|flow| Flow::open(&self.keyring, flow, self.now()));
        let flow = flow.filter(|flow| flow.provider == provider.settings.id);
        let flow = flow.ok_or_else(not_ours)?;
        let state = Secret::new(flow.state.as_str());
        if returned.state != Some(state) || !self.sign_on.spend(&flow.state) {
            return Err(not_ours());
        }
        let settings = &provider.settings;
        let metadata = provider.metadata().await?;
        let says = returned.issuer.as_deref();
        let must_say = metadata.authorization_response_iss_parameter_supported;
        if says.map_or(must_say, |issuer| issuer != settings.issuer) {
            return Err(Error::forbidden(format!(
                "this answer does not come from {}, so nobody was signed in",
                settings.name
            )));
        }
        let code = match (returned.error, returned.code) {
            (None, Some(code)) => code,
            (error, _) => return Err(declined(settings, error.as_deref())),
        };
        let claims = provider.exchange(Exchange {
            code: &code,
            callback: &flow.callback,
            verifier: &flow.verifier,
            nonce: &flow.nonce,
        });
        let claims = claims.await?;
        let identity = NewIdentity {
            issuer: settings.issuer.clone(),
            subject: claims.subject.clone(),
            label: label(&claims),
            at: self.now(),
        };
        match flow.purpose.open().ok_or_else(not_ours)? {
            Purpose::Link(person) => Ok(Outcome::MayLink {
                voucher: Voucher::of(identity, person).seal(&self.keyring),
            }),
            Purpose::SignIn { next } => {
                let person = self.sign_on(settings, identity, &claims, visit).await?;
                Ok(Outcome::SignedIn { person, next })
            }
        }
    }

    async fn sign_on(
        &self,
        settings: &ProviderSettings,
        identity: NewIdentity,
        claims: &Claims,
        visit: &Visit,
    ) -> Result<PersonId> {
        let newcomer = self.newcomer(claims);
        let name = &settings.name;
        let admission = self.admission();
        let max = IDENTITIES_PER_PERSON_MAX;
        let signed_on = self.store.sign_on(identity, newcomer, admission, max);
        let (person, event) = match signed_on.await? {
            SignedOn::Known(person) => return Ok(person),
            SignedOn::Linked(person) => {
                self.tell_linked(person, name).await?;
                (person, "identity.link")
            }
            SignedOn::Made(person) => (person, "person.create"),
            refused => return Err(turned_away(name, refused)),
        };
        let act = Act::new(Actor::Person(person), event, person).with("provider", name.as_str());
        let act = act.asked_by(&visit.request, Some(visit.peer));
        self.audit.note(act).await;
        Ok(person)
    }

    /// Nobody asked the person, so they are told.
    async fn tell_linked(&self, person: PersonId, provider: &str) -> Result<()> {
        let provider = provider.to_owned();
        match self.store.find_person(person).await? {
            Some(person) => self.tell(&person, Letter::Linked { provider }).await,
            None => Ok(()),
        }
    }

    /// Who may become a person here: an address that a provider vouches for counts like one that a mail has proven.
    fn admission(&self) -> Admission {
        match self.registration() {
            Registration::Closed => Admission::Nobody,
            Registration::Invited => Admission::Invited,
            Registration::Open => Admission::Anybody,
        }
    }

    /// The person that an identity would make. `None`: the provider vouches for no address that mail could be sent to.
    fn newcomer(&self, claims: &Claims) -> Option<Person> {
        let email = claims.email.as_ref().filter(|_| claims.email_verified)?;
        let mut faults = Faults::default();
        faults.check_email(email);
        faults.finish().ok()?;
        let given = [&claims.name, &claims.username];
        let given = given.into_iter().flatten().find_map(|name| tidy(name));
        let name = given.unwrap_or_else(|| email.split('@').next().unwrap_or(email).to_owned());
        let id = PersonId::random();
        Some(Person::new(id, email.clone(), name, self.now()))
    }

    /// The identity that a browser came back with, for the person who went for it.
    pub fn offered_identity(&self, person: PersonId, voucher: &Secret) -> Result<OfferedIdentity> {
        let voucher = self.open_voucher(person, voucher)?;
        Ok(OfferedIdentity {
            provider: self.sign_on.name_of(&voucher.issuer),
            label: voucher.label.unwrap_or(voucher.subject),
        })
    }

    /// Links the identity that a browser came back with to the person who went for it.
    pub async fn link_identity(
        &self,
        person: PersonId,
        voucher: &Secret,
        visit: &Visit,
    ) -> Result<()> {
        let identity = self.open_voucher(person, voucher)?.identity(self.now());
        let provider = self.sign_on.name_of(&identity.issuer);
        let max = IDENTITIES_PER_PERSON_MAX;
        self.store.link_identity(person, identity, max).await?;
        let act = Act::new(Actor::Person(person), "identity.link", person);
        let act = act.with("provider", provider);
        let act = act.asked_by(&visit.request, Some(visit.peer));
        self.audit.note(act).await;
        Ok(())
    }

    fn open_voucher(&self, person: PersonId, voucher: &Secret) -> Result<Voucher> {
        let voucher = Voucher::open(&self.keyring, voucher, self.now());
        let voucher = voucher.filter(|voucher| voucher.person == person.to_string());
        voucher.ok_or_else(not_ours)
    }

    /// A person's identities.
    pub async fn list_identities(&self, person: PersonId) -> Result<Vec<ShownIdentity>> {
        let records = self.store.list_identities(person).await?;
        let shown = records.into_iter().map(|record| ShownIdentity {
            provider: self.sign_on.name_of(&record.issuer),
            record,
        });
        Ok(shown.collect())
    }

    /// Takes an identity away from a person.
    pub async fn unlink_identity(&self, person: PersonId, id: i64, visit: &Visit) -> Result<()> {
        if !self.store.unlink_identity(person, id).await? {
            return Err(Error::not_found("there is no such identity"));
        }
        let act = Act::new(Actor::Person(person), "identity.unlink", id);
        let act = act.asked_by(&visit.request, Some(visit.peer));
        self.audit.note(act).await;
        Ok(())
    }
}

/// The browser did not leave from here, or too long ago, or was here with this before.
fn not_ours() -> Error {
    Error::bad_request(
        "this sign-in was not started in this browser, took longer than ten minutes, or is over already; start again",
    )
}

/// Only words that the standards know are repeated.
fn declined(settings: &ProviderSettings, error: Option<&str>) -> Error {
    let name = &settings.name;
    match error {
        Some("access_denied") => Error::forbidden(format!("the sign-in at {name} was cancelled")),
        Some("temporarily_unavailable" | "server_error") => Error::unavailable(format!(
            "{name} is in trouble; try again in a minute, or sign in another way"
        )),
        error => {
            let issuer = &settings.issuer;
            let error: String = error.unwrap_or("no code").chars().take(60).collect();
            tracing::warn!(
                issuer,
                ?error,
                "a provider of single sign-on sent somebody back without a code"
            );
            Error::forbidden(format!(
                "{name} sent you back without saying who you are, so nobody was signed in"
            ))
        }
    }
}

/// What depends on who is a person here is told only to somebody whom the provider knows to own the address.
fn turned_away(name: &str, why: SignedOn) -> Error {
    Error::forbidden(match why {
        SignedOn::NoAddress => format!(
            "{name} does not say that your e-mail address is verified, so it opens nothing here; verify it there, or \
             sign in another way and link {name} on your profile page"
        ),
        SignedOn::OperatorsAddress => format!(
            "whoever looks after this server is signed in by {name} only after linking it; sign in another way, and \
             link {name} on your profile page"
        ),
        SignedOn::AddressUnverified => format!(
            "there is a person with your e-mail address whose address was never verified, so {name} does not open \
             it; sign in another way, verify the address, and link {name} on your profile page"
        ),
        _ => "this server takes newcomers by invitation only; ask somebody who is here to invite this address"
            .to_owned(),
    })
}

/// What a person will recognise the identity by.
fn label(claims: &Claims) -> Option<String> {
    let known = [&claims.email, &claims.username, &claims.name];
    known.into_iter().flatten().find_map(|text| tidy(text))
}

/// A text of the provider's that can be shown: in one line, and not too long.
fn tidy(text: &str) -> Option<String> {
    let words: Vec<_> = text.split_whitespace().collect();
    let plain = words.join(" ");
    let plain = plain.chars().filter(|letter| !is_control(*letter));
    let text: String = plain.take(LABEL_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(issuer: &str, name: Option<&str>) -> Result<ProviderSettings> {
        ProviderSettings::new(issuer, "pilvi", None, name)
    }

    #[test]
    fn a_provider_is_reached_over_https_or_on_this_machine() {
        for good in [
            "https://id.example.org",
            "https://id.example.org/realms/a/",
            "http://127.0.0.1:3000",
            "http://localhost/oidc",
            "http://[::1]:3000",
        ] {
            assert!(provider(good, None).is_ok(), "{good}");
        }
        for bad in [
            "",
            "id.example.org",
            "http://id.example.org",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "https://u:p@id.example.org",
            "https://id.example.org/?realm=a",
            "https://id.example.org/#a",
            "ftp://id.example.org",
        ] {
            assert!(provider(bad, None).is_err(), "{bad}");
        }
        assert!(ProviderSettings::new("https://a.b", " ", None, None).is_err());
    }

    #[test]
    fn a_name_makes_the_address_of_the_callback() {
        for (name, path) in [
            (Some("Example Inc."), "/console/oidc/example-inc/callback"),
            (Some("../../v1"), "/console/oidc/v1/callback"),
            (None, "/console/oidc/id-example-org/callback"),
        ] {
            let provider = provider("https://id.example.org", name).unwrap();
            assert_eq!(provider.callback_path(), path);
        }
        assert!(provider("https://id.example.org", Some("!!")).is_err());
    }

    #[test]
    fn two_providers_can_be_told_apart() {
        let all = |list: &[(&str, &str)]| {
            let made = list
                .iter()
                .map(|(issuer, name)| provider(issuer, Some(name)).unwrap());
            ProviderSettings::check_all(&made.collect::<Vec<_>>())
        };
        assert!(all(&[("https://a.b", "A"), ("https://a.c", "B")]).is_ok());
        assert!(all(&[("https://a.b", "A b"), ("https://a.c", "a-B")]).is_err());
        assert!(all(&[("https://a.b", "A"), ("https://a.b", "B")]).is_err());
    }

    #[test]
    fn texts_of_the_provider_are_made_harmless() {
        assert_eq!(tidy("  Anna\r\n K\u{7} ").as_deref(), Some("Anna K"));
        assert_eq!(tidy("\u{202e}anna@\u{feff}b").as_deref(), Some("anna@b"));
        assert_eq!(tidy("\u{0}\n"), None);
        assert_eq!(tidy(&"a".repeat(1000)).unwrap().len(), LABEL_CHARS_MAX);
    }
}
