//! A provider of single sign-on in this process: small, real on the wire, and as strict as a good one about codes,
//! verifiers and secrets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use pilvi_base::secret::{random_hex, sha256};
use pilvi_base::{Clock, Secret};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::Returned;

/// A provider that answers until it is dropped.
pub(super) struct Provider {
    issuer: String,
    state: Arc<Mutex<State>>,
    running: AbortHandle,
}

struct State {
    clock: Clock,
    /// The seed of the published key, and of the one that signs.
    published: u8,
    signing: u8,
    algorithm: &'static str,
    claims: Map<String, Value>,
    description: Map<String, Value>,
    email_hidden: bool,
    page_subject: Option<String>,
    failures: HashMap<String, String>,
    requests: HashMap<String, usize>,
    codes: HashMap<String, HashMap<String, String>>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The parameters of an address.
pub(super) fn query(url: &str) -> HashMap<String, String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let claims = json!({
            "sub": "anna", "email": "anna@example.org", "email_verified": true, "name": "Anna K",
        });
        let state = Arc::new(Mutex::new(State {
            clock: Clock::manual(UNIX_EPOCH),
            published: 1,
            signing: 1,
            algorithm: "EdDSA",
            claims: claims.as_object().unwrap().clone(),
            description: Map::new(),
            email_hidden: false,
            page_subject: None,
            failures: HashMap::new(),
            requests: HashMap::new(),
            codes: HashMap::new(),
        }));
        let (answering, name) = (Arc::clone(&state), issuer.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the provider")]
        let running = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // One after the other is fast enough, and every connection ends with its answer.
                let _ = answer(stream, &answering, &name).await;
            }
        });
        Self {
            issuer,
            state,
            running: running.abort_handle(),
        }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub(super) fn set_clock(&self, clock: Clock) {
        self.change(|state| state.clock = clock);
    }

    /// Writes a claim into every token from now on.
    pub(super) fn claim(&self, name: &str, value: Value) {
        self.change(|state| state.claims.insert(name.to_owned(), value));
    }

    /// Goes back to what is right, or to Anna.
    pub(super) fn forget_claim(&self, name: &str) {
        self.change(|state| match name {
            "sub" => state.claims.insert(name.to_owned(), json!("anna")),
            _ => state.claims.remove(name),
        });
    }

    /// Says something else about itself; null: what is right.
    pub(super) fn describe(&self, member: &str, value: Value) {
        self.change(|state| match value {
            Value::Null => state.description.remove(member),
            value => state.description.insert(member.to_owned(), value),
        });
    }

    /// Keeps the address out of tokens, and on the page about the person.
    pub(super) fn hide_email(&self) {
        self.change(|state| state.email_hidden = true);
    }

    /// The page about the person is about somebody else.
    pub(super) fn page_about(&self, subject: &str) {
        self.change(|state| state.page_subject = Some(subject.to_owned()));
    }

    /// Signs with another key than it publishes.
    pub(super) fn sign_with(&self, seed: u8) {
        self.change(|state| state.signing = seed);
    }

    pub(super) fn sign_as(&self, algorithm: &'static str) {
        self.change(|state| state.algorithm = algorithm);
    }

    /// Has another key from now on.
    pub(super) fn rotate(&self, seed: u8) {
        self.change(|state| (state.published, state.signing) = (seed, seed));
    }

    /// Answers with these bytes on this path.
    pub(super) fn fail(&self, path: &str, answer: &str) {
        self.change(|state| state.failures.insert(path.to_owned(), answer.to_owned()));
    }

    pub(super) fn heal(&self, path: &str) {
        self.change(|state| state.failures.remove(path));
    }

    /// How often it was asked for this path.
    pub(super) fn count(&self, path: &str) -> usize {
        self.change(|state| state.requests.get(path).copied().unwrap_or(0))
    }

    pub(super) fn requests(&self) -> usize {
        self.change(|state| state.requests.values().sum())
    }

    /// What a browser does that is sent here and whose person agrees.
    pub(super) fn authorize(&self, url: &str) -> Returned {
        let asked = query(url);
        let code = random_hex::<8>();
        let state = asked["state"].clone();
        self.change(|all| all.codes.insert(code.clone(), asked));
        Returned {
            code: Some(Secret::new(code)),
            state: Some(Secret::new(state)),
            issuer: Some(self.issuer.clone()),
            error: None,
        }
    }
}

async fn answer(mut stream: TcpStream, state: &Mutex<State>, issuer: &str) -> std::io::Result<()> {
    let mut heard = Vec::new();
    let (head, body) = loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await?;
        heard.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&heard).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if read == 0 {
                return Ok(());
            }
            continue;
        };
        let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
        if body.len() >= length || read == 0 {
            break (head.to_owned(), body.to_owned());
        }
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        *state.requests.entry(path.clone()).or_default() += 1;
        match state.failures.get(&path) {
            Some(failure) => failure.clone(),
            None => {
                let (status, json) = state.answer(&path, &head, &body, issuer);
                let json = json.to_string();
                let length = json.len();
                format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{json}"
                )
            }
        }
    };
    stream.write_all(answer.as_bytes()).await
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

impl State {
    fn answer(&mut self, path: &str, head: &str, body: &str, issuer: &str) -> (u16, Value) {
        match path {
            "/.well-known/openid-configuration" => (200, self.describe(issuer)),
            "/keys" => (200, json!({"keys": [jwk(self.published)]})),
            "/token" => self.token(head, body, issuer),
            "/me" => self.page(head),
            _ => (404, json!({})),
        }
    }

    fn describe(&self, issuer: &str) -> Value {
        let mut all = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "userinfo_endpoint": format!("{issuer}/me"),
        });
        all.as_object_mut()
            .unwrap()
            .extend(self.description.clone());
        all
    }

    fn token(&mut self, head: &str, body: &str, issuer: &str) -> (u16, Value) {
        // Both halves are escaped before they are joined.
        let client = BASE64_STANDARD.encode("pilvi:s3cret+%26+more");
        if header(head, "authorization") != Some(&format!("Basic {client}")) {
            return (401, json!({"error": "invalid_client"}));
        }
        let form: HashMap<_, _> = form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        let grant = form.get("code").and_then(|code| self.codes.remove(code));
        let Some(asked) = grant else {
            return (400, json!({"error": "invalid_grant"}));
        };
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(sha256(form["code_verifier"].as_bytes()));
        let is_right = form["grant_type"] == "authorization_code"
            && form["redirect_uri"] == asked["redirect_uri"]
            && challenge == asked["code_challenge"];
        if !is_right {
            return (400, json!({"error": "invalid_grant"}));
        }
        let now = self
            .clock
            .now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut claims = json!({
            "iss": issuer, "aud": "pilvi", "nonce": asked["nonce"], "iat": now, "exp": now + 300,
        });
        claims.as_object_mut().unwrap().extend(self.claims.clone());
        if self.email_hidden {
            claims.as_object_mut().unwrap().remove("email");
        }
        let id_token = self.sign(&claims);
        let answer = json!({"id_token": id_token, "access_token": "at-1", "token_type": "Bearer"});
        (200, answer)
    }

    fn page(&self, head: &str) -> (u16, Value) {
        if header(head, "authorization") != Some("Bearer at-1") {
            return (401, json!({}));
        }
        let mut page = self.claims.clone();
        if let Some(subject) = &self.page_subject {
            page.insert("sub".to_owned(), json!(subject));
        }
        (200, Value::Object(page))
    }

    fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let kid = format!("k{}", self.signing);
        let head = json!({"alg": self.algorithm, "kid": kid});
        let message = format!("{}.{}", part(&head), part(claims));
        let signature = pair(self.signing).sign(message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn jwk(seed: u8) -> Value {
    let x = BASE64_URL_SAFE_NO_PAD.encode(pair(seed).public_key());
    json!({"kty": "OKP", "crv": "Ed25519", "kid": format!("k{seed}"), "use": "sig", "x": x})
}
