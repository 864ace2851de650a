//! A provider of single sign-on, as this server asks it: what it says about itself, its keys, and what a code is worth.
//!
//! Everything that comes from it is bounded in size and time, comes over calls that follow nothing, and is a claim
//! until it is checked. Only the place of its issuer, which the operator named, may be an inner one: an address inside
//! what it says about itself leads no further than any stranger's webhook.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use form_urlencoded::byte_serialize;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use pilvi_base::{Clock, Secret};
use pilvi_core::Egress;
use pilvi_core::egress::{Call, Fetched, Place, Policy};
use pilvi_model::{Error, Result, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, Semaphore};

use super::ProviderSettings;
use super::id_token::{self, Claims, Expected};
use super::keys::Keys;

/// What a provider says about itself is asked for again after this time, so that a change is noticed.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// New keys are not asked for more often: whoever sends tokens with made-up keys makes no traffic.
const KEYS_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// A provider that could not be asked is left alone for so long.
const LEFT_ALONE_FOR: Duration = Duration::from_secs(5);
/// Sign-ins that wait for one provider at the same time.
const WAITING_MAX: usize = 64;
const ANSWER_MAX_BYTES: usize = 256 << 10;
const WHY_CHARS_MAX: usize = 500;

/// One provider.
pub(super) struct Provider {
    pub(super) settings: ProviderSettings,
    egress: Egress,
    clock: Clock,
    waiting: Semaphore,
    /// Held while the provider is asked, so that many who wait ask once.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    metadata: Option<Aged<Metadata>>,
    keys: Option<Aged<Keys>>,
    /// When it last could not be asked, and what was said then.
    failed: Option<Timestamp>,
}

struct Aged<T> {
    value: Arc<T>,
    since: Timestamp,
}

/// What a provider says about itself (OpenID Connect Discovery, §3).
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether it always says who it is when somebody comes back (RFC 9207).
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

/// What comes back for a code.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

/// What it says when a code is worth nothing.
#[derive(Deserialize)]
struct TokenError {
    error: String,
}

/// A code, and what proves that it is ours.
pub(super) struct Exchange<'a> {
    pub(super) code: &'a Secret,
    pub(super) callback: &'a str,
    pub(super) verifier: &'a str,
    pub(super) nonce: &'a str,
}

impl Provider {
    pub(super) fn new(settings: ProviderSettings, clock: Clock) -> Self {
        let place = settings.issuer.parse().ok().as_ref().and_then(Place::of);
        let policy = Policy {
            trusted: place.into_iter().collect(),
            ..Policy::default()
        };
        Self {
            settings,
            egress: Egress::outward(policy),
            clock,
            waiting: Semaphore::new(WAITING_MAX),
            known: Mutex::default(),
        }
    }

    /// What the provider says about itself.
    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>> {
        let _turn = self.waiting.try_acquire().map_err(|_| self.is_busy())?;
        let mut known = self.known.lock().await;
        self.known_metadata(&mut known).await
    }

    /// What the provider vouches for in exchange for a code.
    pub(super) async fn exchange(&self, exchange: Exchange<'_>) -> Result<Claims> {
        let metadata = self.metadata().await?;
        let _turn = self.waiting.try_acquire().map_err(|_| self.is_busy())?;
        let tokens = self.tokens(&metadata, &exchange).await?;
        let claims = self.believe(&tokens, exchange.nonce).await?;
        match (
            &claims.email,
            &metadata.userinfo_endpoint,
            tokens.access_token,
        ) {
            // A provider may keep what it says about a person on a page of its own.
            (None, Some(page), Some(access_token)) => {
                self.more_claims(page, &access_token, claims).await
            }
            _ => Ok(claims),
        }
    }

    async fn known_metadata(&self, known: &mut Known) -> Result<Arc<Metadata>> {
        let now = self.now();
        if let Some(aged) = known
            .metadata
            .as_ref()
            .filter(|aged| !aged.is_over(KNOWN_FOR, now))
        {
            return Ok(Arc::clone(&aged.value));
        }
        self.check_patience(known)?;
        let found = self.discover().await;
        known.failed = found.is_err().then_some(now);
        let value = Arc::new(found?);
        known.metadata = Some(Aged {
            value: Arc::clone(&value),
            since: now,
        });
        Ok(value)
    }

    async fn discover(&self) -> Result<Metadata> {
        const PATH: &str = "/.well-known/openid-configuration";
        let issuer = &self.settings.issuer;
        let url = format!("{}{PATH}", issuer.trim_end_matches('/'));
        let found: Metadata = self.get(&url, HeaderMap::new()).await?;
        if found.issuer != *issuer {
            let why = format!("it calls itself {:?} instead of {issuer:?}", found.issuer);
            return Err(self.is_wrong(&why));
        }
        let pages = [
            Some(&found.authorization_endpoint),
            Some(&found.token_endpoint),
            Some(&found.jwks_uri),
            found.userinfo_endpoint.as_ref(),
        ];
        for page in pages.into_iter().flatten() {
            if !self.may_be_a_page(page) {
                return Err(self.is_wrong(&format!("it names {page:?}, which is not over https")));
            }
        }
        Ok(found)
    }

    /// Over https, or at least not worse than the issuer itself.
    fn may_be_a_page(&self, url: &str) -> bool {
        let Ok(url) = url.parse::<Uri>() else {
            return false;
        };
        let plain = self.settings.issuer.starts_with("http://") && url.scheme_str() == Some("http");
        url.host().is_some() && (plain || url.scheme_str() == Some("https"))
    }

    async fn known_keys(&self, older_than: Duration) -> Result<(Arc<Keys>, bool)> {
        let mut known = self.known.lock().await;
        let now = self.now();
        if let Some(aged) = known
            .keys
            .as_ref()
            .filter(|aged| !aged.is_over(older_than, now))
        {
            return Ok((Arc::clone(&aged.value), false));
        }
        let metadata = self.known_metadata(&mut known).await?;
        self.check_patience(&known)?;
        let found = self.ask_for_keys(&metadata).await;
        known.failed = found.is_err().then_some(now);
        let value = Arc::new(found?);
        known.keys = Some(Aged {
            value: Arc::clone(&value),
            since: now,
        });
        Ok((value, true))
    }

    async fn ask_for_keys(&self, metadata: &Metadata) -> Result<Keys> {
        let page = &metadata.jwks_uri;
        let answer = self.ask(Method::GET, page, HeaderMap::new(), Bytes::new());
        let answer = self.success(answer.await?)?;
        Keys::read(&answer.body)
            .map_err(|error| self.is_wrong(&format!("its keys cannot be read: {}", place(&error))))
    }

    async fn tokens(&self, metadata: &Metadata, exchange: &Exchange<'_>) -> Result<Tokens> {
        let (headers, body) = self.token_request(metadata, exchange);
        let answer = self.ask(Method::POST, &metadata.token_endpoint, headers, body);
        let answer = answer.await?;
        if answer.status.is_client_error() {
            return Err(self.refused(&answer));
        }
        self.json(&self.success(answer)?)
    }

    /// Headers and form of the request that exchanges a code.
    fn token_request(&self, metadata: &Metadata, exchange: &Exchange<'_>) -> (HeaderMap, Bytes) {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", exchange.code.expose())
            .append_pair("redirect_uri", exchange.callback)
            .append_pair("code_verifier", exchange.verifier);
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, content_type);
        let client = &self.settings.client_id;
        match &self.settings.client_secret {
            None => {
                form.append_pair("client_id", client);
            }
            Some(secret) if metadata.wants_secret_in_form() => {
                form.append_pair("client_id", client);
                form.append_pair("client_secret", secret.expose());
            }
            Some(secret) => {
                headers.insert(AUTHORIZATION, basic(client, secret));
            }
        }
        (headers, Bytes::from(form.finish()))
    }

    /// The provider accepts no code like this one.
    fn refused(&self, answer: &Fetched) -> Error {
        let reason = serde_json::from_slice(&answer.body).map(|body: TokenError| body.error);
        let reason = reason.unwrap_or_default();
        if reason == "invalid_grant" {
            let name = &self.settings.name;
            return Error::forbidden(format!(
                "{name} does not accept this sign-in any more; start again"
            ));
        }
        let reason: String = reason.chars().take(60).collect();
        self.is_wrong(&format!(
            "it refuses this server's calls: {} {reason:?}",
            answer.status
        ))
    }

    /// Checks an ID token, by new keys where the known ones do not fit.
    async fn believe(&self, tokens: &Tokens, nonce: &str) -> Result<Claims> {
        let expected = Expected {
            issuer: &self.settings.issuer,
            client: &self.settings.client_id,
            nonce,
            access_token: tokens.access_token.as_deref(),
            now: self.now(),
        };
        let (keys, fresh) = self.known_keys(KNOWN_FOR).await?;
        let mut verdict = id_token::verify(&tokens.id_token, &keys, &expected);
        if verdict.as_ref().is_err_and(|fault| fault.is_about_keys()) && !fresh {
            let (keys, _) = self.known_keys(KEYS_AGAIN_AFTER).await?;
            verdict = id_token::verify(&tokens.id_token, &keys, &expected);
        }
        verdict.map_err(|fault| self.is_wrong(&format!("its ID token cannot be believed: {fault}")))
    }

    /// The claims together with what the provider's page about the person adds.
    async fn more_claims(&self, page: &str, access_token: &str, claims: Claims) -> Result<Claims> {
        let bearer = HeaderValue::try_from(format!("Bearer {access_token}"));
        let mut bearer =
            bearer.map_err(|_| self.is_wrong("its access token cannot be sent back"))?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        let found: Map<String, Value> = self.get(page, headers).await?;
        let more = id_token::read(&found).filter(|more| more.subject == claims.subject);
        let Some(more) = more else {
            return Err(self.is_wrong("its page about the person is about somebody else"));
        };
        Ok(Claims {
            subject: claims.subject,
            email: more.email,
            email_verified: more.email_verified,
            name: claims.name.or(more.name),
            username: claims.username.or(more.username),
        })
    }

    async fn get<T: for<'a> Deserialize<'a>>(&self, url: &str, headers: HeaderMap) -> Result<T> {
        let answer = self.ask(Method::GET, url, headers, Bytes::new()).await?;
        self.json(&self.success(answer)?)
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Fetched> {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let call = Call {
            method,
            url,
            headers,
            body,
            answer_max_bytes: ANSWER_MAX_BYTES,
        };
        self.egress.fetch(call).await.map_err(|error| {
            let issuer = &self.settings.issuer;
            let url: String = url.chars().take(WHY_CHARS_MAX).collect();
            tracing::warn!(issuer, url, %error, "a provider of single sign-on could not be asked");
            self.is_away()
        })
    }

    fn success(&self, answer: Fetched) -> Result<Fetched> {
        match answer.status {
            StatusCode::OK => Ok(answer),
            status if status.is_server_error() => {
                let issuer = &self.settings.issuer;
                tracing::warn!(issuer, %status, "a provider of single sign-on is in trouble");
                Err(self.is_away())
            }
            status => Err(self.is_wrong(&format!("it answers with {status}"))),
        }
    }

    fn json<T: for<'a> Deserialize<'a>>(&self, answer: &Fetched) -> Result<T> {
        let read = serde_json::from_slice(&answer.body);
        read.map_err(|error| {
            self.is_wrong(&format!("its answer cannot be read: {}", place(&error)))
        })
    }

    fn check_patience(&self, known: &Known) -> Result<()> {
        let now = self.now();
        match known.failed {
            Some(failed) if failed.plus(LEFT_ALONE_FOR) > now => Err(self.is_away()),
            _ => Ok(()),
        }
    }

    /// It may answer later.
    fn is_away(&self) -> Error {
        let name = &self.settings.name;
        Error::unavailable(format!(
            "{name} does not answer at the moment; try again in a minute, or sign in another way"
        ))
    }

    /// Something is set up wrongly, or somebody stands between.
    fn is_wrong(&self, why: &str) -> Error {
        let ProviderSettings { issuer, name, .. } = &self.settings;
        // It may repeat what the provider said.
        let why: String = why.chars().take(WHY_CHARS_MAX).collect();
        tracing::error!(issuer, why, "a sign-in by single sign-on failed");
        Error::unavailable(format!(
            "{name} and this server do not understand each other, so nobody was signed in; the operator finds the \
             reason in the server's log"
        ))
    }

    fn is_busy(&self) -> Error {
        let name = &self.settings.name;
        Error::over_limit(format!(
            "too many sign-ins wait for {name}; try again in a minute"
        ))
    }

    fn now(&self) -> Timestamp {
        self.clock.now().into()
    }
}

impl<T> Aged<T> {
    fn is_over(&self, age_max: Duration, now: Timestamp) -> bool {
        // A clock that was set back makes it too new to be trusted.
        self.since.plus(age_max) <= now || self.since > now
    }
}

impl Metadata {
    fn wants_secret_in_form(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_deref();
        methods.is_some_and(|methods| {
            let supports = |method: &str| methods.iter().any(|one| one == method);
            !supports("client_secret_basic") && supports("client_secret_post")
        })
    }
}

/// What is wrong with JSON, without repeating any of it: it may hold what is secret, or very long.
fn place(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    format!(
        "{:?} error in line {line}, column {column}",
        error.classify()
    )
}

/// Both halves are escaped before they are joined (RFC 6749, §2.3.1).
fn basic(client: &str, secret: &Secret) -> HeaderValue {
    let escape = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", escape(client), escape(secret.expose()));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        .expect("base64 is made of characters that a header may hold");
    value.set_sensitive(true);
    value
}
