//! The users of a data backend that is another server's: asked over HTTP, remembered for a moment.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use lru::LruCache;
use pilvi_base::{Clock, Secret};
use pilvi_core::egress::{Call, Egress, Fetched, Place, Policy};
use pilvi_core::{AppUser, AppUsers, Asking};
use pilvi_model::{BackendId, Error, ObjectId, Result, Timestamp};
use serde_json::Value;
use tokio::sync::Semaphore;

/// How long an answer counts. A user who signs out, or leaves a group, keeps their rights for so long.
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// The same for a token that nobody has: it may be somebody's soon.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
const ANSWERS_KEPT: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not zero");
/// Questions at the same time; one more waits for its turn.
const QUESTIONS_MAX: usize = 64;
/// How long a question waits for its turn. How long it takes then is bounded by [`Egress`].
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// Longer than a user with a thousand groups.
const ANSWER_BYTES_MAX: usize = 128 << 10;

/// Asks for users where they are kept.
pub(super) struct HttpUsers {
    target: String,
    egress: Egress,
    clock: Clock,
    turns: Semaphore,
    /// By the digest of a token. A plain mutex: held for a look-up, never across an await.
    answers: Mutex<LruCache<[u8; 32], Kept>>,
}

struct Kept {
    user: Option<AppUser>,
    until: Timestamp,
}

impl HttpUsers {
    /// `target` is the call that says who the bearer of a token is. It may be anywhere: whoever starts the gateway
    /// named it.
    pub(super) fn new(target: &Uri) -> Self {
        let policy = Policy {
            trusted: Place::of(target).into_iter().collect(),
            ..Policy::default()
        };
        Self {
            target: target.to_string(),
            egress: Egress::outward(policy),
            clock: Clock::system(),
            turns: Semaphore::new(QUESTIONS_MAX),
            answers: Mutex::new(LruCache::new(ANSWERS_KEPT)),
        }
    }

    /// Tells by this clock how long an answer counts.
    pub(super) fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    async fn ask(&self, backend: BackendId, token: &Secret) -> Result<Option<AppUser>> {
        let digest = token.digest();
        if let Some(known) = self.recall(&digest) {
            return Ok(known);
        }
        // What no header can hold is nobody's token.
        let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {}", token.expose())) else {
            return Ok(None);
        };
        bearer.set_sensitive(true);
        let waiting = tokio::time::timeout(TURN_PATIENCE, self.turns.acquire());
        let _turn = match waiting.await {
            Ok(turn) => turn.map_err(Error::internal)?,
            Err(_) => return Err(silent()),
        };
        let call = Call {
            method: Method::GET,
            url: &self.target,
            headers: headers(backend, bearer)?,
            body: Bytes::new(),
            answer_max_bytes: ANSWER_BYTES_MAX,
        };
        let fetched = self.egress.fetch(call).await.map_err(|error| {
            tracing::warn!(%error, "the data backend could not be asked who a user is");
            silent()
        })?;
        let user = read(&fetched)?;
        self.remember(digest, user.clone());
        Ok(user)
    }

    fn recall(&self, digest: &[u8; 32]) -> Option<Option<AppUser>> {
        let now: Timestamp = self.clock.now().into();
        let mut answers = self.answers();
        let kept = answers.get(digest)?;
        (now < kept.until).then(|| kept.user.clone())
    }

    fn remember(&self, digest: [u8; 32], user: Option<AppUser>) {
        let now: Timestamp = self.clock.now().into();
        let until = now.plus(match user {
            Some(_) => KNOWN_FOR,
            None => UNKNOWN_FOR,
        });
        self.answers().put(digest, Kept { user, until });
    }

    fn answers(&self) -> MutexGuard<'_, LruCache<[u8; 32], Kept>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AppUsers for HttpUsers {
    fn who<'a>(&'a self, backend: BackendId, token: &'a Secret) -> Asking<'a> {
        Box::pin(self.ask(backend, token))
    }
}

fn headers(backend: BackendId, bearer: HeaderValue) -> Result<HeaderMap> {
    let json = HeaderValue::from_static("application/json");
    let backend = HeaderValue::try_from(backend.to_string()).map_err(Error::internal)?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, json.clone());
    headers.insert(CONTENT_TYPE, json);
    headers.insert(AUTHORIZATION, bearer);
    headers.insert("enginio-backend-id", backend);
    Ok(headers)
}

/// Only 200 names a user. An answer that the server could not help leaves it open, and is not remembered.
fn read(fetched: &Fetched) -> Result<Option<AppUser>> {
    match fetched.status {
        StatusCode::OK => {}
        status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            return Ok(None);
        }
        status => {
            tracing::warn!(%status, "the data backend did not say who a user is");
            return Err(silent());
        }
    }
    let user = serde_json::from_slice(&fetched.body).ok();
    let user = user.and_then(|user: Value| read_user(&user));
    if user.is_none() {
        tracing::warn!("the data backend answered 200 without a user's id");
        return Err(silent());
    }
    Ok(user)
}

/// Groups come as references or as bare ids.
fn read_user(user: &Value) -> Option<AppUser> {
    let id = |value: &Value| -> Option<ObjectId> {
        let text = value.as_str().or_else(|| value.get("id")?.as_str())?;
        text.parse().ok()
    };
    let groups = user.get("usergroups").and_then(Value::as_array);
    Some(AppUser {
        id: user.get("id")?.as_str()?.parse().ok()?,
        groups: groups.into_iter().flatten().filter_map(id).collect(),
    })
}

fn silent() -> Error {
    Error::unavailable("the data backend that knows the users does not answer; try again soon")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::SystemTime;

    use pilvi_model::Kind;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const USER: &str = r#"{"id":"532c410072fc38d95600000b","usergroups":[
        {"id":"5417e5485a3d8b418a01adb7","objectType":"usergroups"},"5417e5485a3d8b418a01adb8",7]}"#;

    struct Backend {
        target: Uri,
        questions: Arc<AtomicUsize>,
    }

    /// Says of the token `anna` who she is, fails with `broken`, and does not know any other.
    async fn backend() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}/v1/user", listener.local_addr().unwrap());
        let questions = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&questions);
        pilvi_base::TaskGroup::new().spawn("a data backend", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                assert!(head.starts_with("get /v1/user http/1.1\r\n"), "{head}");
                assert!(head.contains("\r\nenginio-backend-id: 5417e5485a3d8b418a01adb7\r\n"));
                let token = head.split("authorization: bearer ").nth(1).unwrap();
                let (status, body) = match token.split("\r\n").next().unwrap() {
                    "anna" => ("200 OK", USER),
                    "odd" => ("200 OK", "[]"),
                    "broken" => ("500 Internal Server Error", "{}"),
                    _ => ("401 Unauthorized", "{}"),
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Backend {
            target: target.parse().unwrap(),
            questions,
        }
    }

    async fn who(users: &HttpUsers, token: &str) -> Result<Option<AppUser>> {
        let backend = "5417e5485a3d8b418a01adb7".parse().unwrap();
        users.who(backend, &Secret::new(token)).await
    }

    #[tokio::test]
    async fn a_user_is_asked_for_once_in_a_while() {
        let backend = backend().await;
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let users = HttpUsers::new(&backend.target).with_clock(clock.clone());
        let asked = || backend.questions.load(Ordering::SeqCst);
        let anna = who(&users, "anna").await.unwrap().unwrap();
        assert_eq!(anna.id.to_string(), "532c410072fc38d95600000b");
        let groups: Vec<String> = anna.groups.iter().map(ToString::to_string).collect();
        assert_eq!(
            groups,
            ["5417e5485a3d8b418a01adb7", "5417e5485a3d8b418a01adb8"]
        );
        clock.advance(KNOWN_FOR - Duration::from_millis(1));
        assert_eq!(who(&users, "anna").await.unwrap(), Some(anna));
        assert_eq!(asked(), 1);
        clock.advance(Duration::from_millis(1));
        assert!(who(&users, "anna").await.unwrap().is_some());
        assert_eq!(asked(), 2);

        assert_eq!(who(&users, "nobody").await.unwrap(), None);
        assert_eq!(who(&users, "nobody").await.unwrap(), None);
        assert_eq!(asked(), 3);
        clock.advance(UNKNOWN_FOR);
        assert_eq!(who(&users, "nobody").await.unwrap(), None);
        assert_eq!(asked(), 4);
        assert_eq!(who(&users, "two\r\nlines").await.unwrap(), None);
        assert_eq!(asked(), 4);
    }

    #[tokio::test]
    async fn a_backend_that_cannot_say_leaves_it_open() {
        let backend = backend().await;
        let users = HttpUsers::new(&backend.target);
        for (token, count) in [("broken", 1), ("broken", 2), ("odd", 3)] {
            let error = who(&users, token).await.unwrap_err();
            assert_eq!(error.kind, Kind::Unavailable);
            assert_eq!(backend.questions.load(Ordering::SeqCst), count);
        }
        let nowhere = "http://127.0.0.1:1/v1/user".parse().unwrap();
        let error = who(&HttpUsers::new(&nowhere), "anna").await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
    }
}
