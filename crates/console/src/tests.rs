//! The pages in process: real routes and rules over real SQLite, behind the real door.

use std::time::{Duration, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use http::header::{CONTENT_TYPE, COOKIE, HOST, ORIGIN, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use pilvi_base::{Clock, Keyring, Secret, TaskGroup};
use pilvi_core::mail::Post;
use pilvi_core::passwords::Cost;
use pilvi_core::{Audit, Directory, Identity, Mailer, Passwords};
use pilvi_model::{PersonId, RequestId};
use pilvi_platform::{Parts, Platform, Registration, Settings};
use pilvi_store::Store;
use pilvi_store::platform::{CodeBounds, CodePurpose, NewCode};
use pilvi_web::{Arrival, Door, Hosts, Service};
use tempfile::TempDir;

use crate::Console;

const HOST_NAME: &str = "cloud.example.org";
const PASSWORD: &str = "correct horse battery";

struct World {
    store: Store,
    platform: Platform,
    door: Door,
    person: PersonId,
    clock: Clock,
    _folder: TempDir,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// A browser that keeps cookies.
struct Browser<'a> {
    world: &'a World,
    cookies: Vec<(String, String)>,
}

impl World {
    async fn new(registration: Registration) -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), pilvi_store::Limits::default());
        let (store, tasks) = (store.await.unwrap(), TaskGroup::new());
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_426_669_200));
        let post = Post::Folder(folder.path().join("mail"));
        let cost = Cost {
            memory_kib: 8,
            passes: 1,
        };
        let platform = Platform::new(Parts {
            identity: Identity::new(store.clone()).with_clock(clock.clone()),
            directory: Directory::new(store.clone(), tasks.clone()),
            keyring: Keyring::from_bytes([7; 32]),
            clock: clock.clone(),
            passwords: Passwords::new(cost).unwrap(),
            mailer: Mailer::new(post, "pilvi@localhost", clock.clone(), tasks.clone()).unwrap(),
            audit: Audit::new(store.clone(), clock.clone(), tasks.clone()),
            settings: Settings {
                registration,
                ..Settings::default()
            },
            provisioners: Vec::new(),
            store: store.clone(),
            tasks,
        });
        let person = platform.bootstrap().await.unwrap().unwrap().person;
        let password = Secret::new(PASSWORD);
        platform.set_password(person, &password).await.unwrap();
        let door = Door::new(Hosts::shared(), pilvi_web::Limits::default())
            .site(Service::Platform, platform.site())
            .site(Service::Console, Console::new(platform.clone()).site());
        Self {
            store,
            platform,
            door,
            person,
            clock,
            _folder: folder,
        }
    }

    async fn send(&self, request: Request<Body>, arrival: Arrival) -> Answer {
        let (parts, body) = self.door.call(request, arrival).await.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    fn browser(&self) -> Browser<'_> {
        Browser {
            world: self,
            cookies: Vec::new(),
        }
    }

    /// A browser that the operator is signed in with.
    async fn signed_in(&self) -> Browser<'_> {
        self.sign_in("operator@localhost").await
    }

    /// A browser that somebody is signed in with who is new here.
    async fn signed_in_as(&self, email: &str) -> Browser<'_> {
        let person = self
            .platform
            .create_person(email.to_owned(), "Somebody".to_owned());
        let person = person.await.unwrap();
        let password = Secret::new(PASSWORD);
        self.platform.set_password(person, &password).await.unwrap();
        self.sign_in(email).await
    }

    async fn sign_in(&self, email: &str) -> Browser<'_> {
        let mut browser = self.browser();
        let form = browser.get("/console/sign-in").await.form_token();
        let fields = [
            ("form", form.as_str()),
            ("email", email),
            ("password", PASSWORD),
        ];
        let answer = browser.post("/console/sign-in", &fields).await;
        assert_eq!(answer.location(), "/console/profile", "{}", answer.text);
        browser
    }

    /// A code that gives the operator an address.
    async fn code_for(&self, email: &str) -> String {
        const CODE: &str = "0123456789abcdef0123456789abcdef";
        let now = self.platform.now();
        let code = NewCode {
            digest: Secret::new(CODE).digest(),
            email: email.to_owned(),
            purpose: CodePurpose::Email(self.person),
            created_at: now,
            expires_at: now.plus(Duration::from_secs(60)),
        };
        let bounds = CodeBounds {
            codes_max: 1,
            spacing: Duration::ZERO,
        };
        assert!(self.store.insert_code(code, bounds).await.unwrap());
        CODE.to_owned()
    }
}

fn arrival() -> Arrival {
    Arrival {
        secure: true,
        ..Arrival::in_process(HOST_NAME, RequestId::from_bytes([1; 16]))
    }
}

impl Browser<'_> {
    async fn get(&mut self, path: &str) -> Answer {
        let request = self.request("GET", path).body(Body::empty()).unwrap();
        self.exchange(request).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let origin = format!("https://{HOST_NAME}");
        self.post_from(&origin, path, fields).await
    }

    async fn post_from(&mut self, origin: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = self
            .request("POST", path)
            .header(ORIGIN, origin)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body));
        self.exchange(request.unwrap()).await
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let builder = Request::builder().method(method).uri(path);
        let builder = builder.header(HOST, HOST_NAME);
        match cookies.is_empty() {
            true => builder,
            false => builder.header(COOKIE, cookies.join("; ")),
        }
    }

    async fn exchange(&mut self, request: Request<Body>) -> Answer {
        let answer = self.world.send(request, arrival()).await;
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            for word in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite="] {
                assert!(cookie.contains(word), "{cookie}");
            }
            assert!(!cookie.contains("Domain"), "{cookie}");
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        let mut found = self.cookies.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

impl Answer {
    fn location(&self) -> &str {
        self.headers
            .get("location")
            .map_or("", |location| location.to_str().unwrap())
    }

    /// What the page's forms carry.
    fn form_token(&self) -> String {
        let mark = r#"name="form" value=""#;
        let start = self.text.find(mark).expect("the page has a form") + mark.len();
        self.text[start..].split('"').next().unwrap().to_owned()
    }
}

/// Every form of the console and what it may hold.
const FORMS: [(&str, &[(&str, &str)]); 20] = [
    (
        "/console/sign-in",
        &[("email", "operator@localhost"), ("password", PASSWORD)],
    ),
    ("/console/sign-out", &[]),
    (
        "/console/sign-up",
        &[
            ("email", "a@example.org"),
            ("name", "A"),
            ("password", PASSWORD),
        ],
    ),
    ("/console/verify", &[("code", "00"), ("password", PASSWORD)]),
    ("/console/forgot", &[("email", "operator@localhost")]),
    ("/console/reset", &[("code", "00"), ("password", PASSWORD)]),
    ("/console/profile/name", &[("new-name", "Changed")]),
    (
        "/console/profile/email",
        &[("email", "changed@example.org"), ("current", PASSWORD)],
    ),
    (
        "/console/profile/password",
        &[("current", PASSWORD), ("password", "changed it is now")],
    ),
    (
        "/console/profile/tokens",
        &[("name", "planted"), ("life", "")],
    ),
    ("/console/profile/tokens/remove", &[("id", "1")]),
    (
        "/console/profile/keys",
        &[("key-name", "planted"), ("key", "ssh-ed25519 AAAA")],
    ),
    ("/console/profile/keys/remove", &[("id", "1")]),
    ("/console/profile/invitations", &[("code", "00")]),
    ("/console/profile/invitations/accept", &[("id", "1")]),
    ("/console/profile/invitations/decline", &[("id", "1")]),
    ("/console/profile/sessions/end", &[("id", "1")]),
    ("/console/profile/sessions/end-others", &[]),
    (
        "/console/device/decide",
        &[("user_code", "WDJB-MJHT"), ("decision", "approve")],
    ),
    ("/console/identities/unlink", &[("id", "1")]),
];

#[tokio::test]
async fn a_form_from_elsewhere_does_nothing() {
    let world = World::new(Registration::Open).await;
    let before = world.platform.get_person(world.person).await.unwrap();
    let tokens = world
        .platform
        .list_person_tokens(world.person)
        .await
        .unwrap();
    let mut browser = world.signed_in().await;
    let own = browser.get("/console/profile").await.form_token();
    let visitors = browser.get("/console/forgot").await.form_token();
    let strangers = world.browser().get("/console/sign-in").await.form_token();
    let here = format!("https://{HOST_NAME}");
    for (path, fields) in FORMS {
        for (what, origin, form) in [
            ("no token", here.as_str(), None),
            ("an empty token", &here, Some("")),
            (
                "the token of another browser",
                &here,
                Some(strangers.as_str()),
            ),
            ("another site", "https://evil.example", Some(own.as_str())),
            ("another site", "https://evil.example", Some(&visitors)),
            ("a page without an origin", "null", Some(&own)),
            (
                "the same name over plain http",
                "http://cloud.example.org",
                Some(&own),
            ),
        ] {
            let mut sent: Vec<(&str, &str)> = fields.to_vec();
            sent.extend(form.map(|form| ("form", form)));
            let answer = browser.post_from(origin, path, &sent).await;
            assert_eq!(answer.status, 403, "{path} with {what}: {}", answer.text);
        }
    }
    let after = world.platform.get_person(world.person).await.unwrap();
    assert_eq!(after, before);
    let listed = world
        .platform
        .list_person_tokens(world.person)
        .await
        .unwrap();
    assert_eq!(listed, tokens);
    assert_eq!(browser.get("/console/profile").await.status, 200);
}

/// A form that is added without being listed above fails.
#[test]
fn the_list_names_every_form() {
    let sources = [
        include_str!("device.rs"),
        include_str!("oidc.rs"),
        include_str!("profile.rs"),
        include_str!("sign_in.rs"),
        include_str!("sign_up.rs"),
        include_str!("verify.rs"),
    ];
    // These two begin and end what another site has to do with; `tests/single_sign_on.rs` goes through them.
    let with_providers = ["/console/identities/add", "/console/identities/link"];
    let mut found = 0;
    for route in sources
        .iter()
        .flat_map(|source| source.split(".route(").skip(1))
    {
        let path = route.split('"').nth(1).unwrap();
        let is_form = route.split("\n\n").next().unwrap().contains("post(");
        if is_form && !with_providers.contains(&path) {
            found += 1;
            assert!(
                FORMS.iter().any(|(known, _)| *known == path),
                "{path} is not listed"
            );
        }
    }
    assert_eq!(found, FORMS.len());
}

#[tokio::test]
async fn a_planted_secret_opens_nothing() {
    let world = World::new(Registration::Open).await;
    let mut browser = world.browser();
    // Somebody knows what is in the browser before its owner signs in.
    for name in ["__Host-pilvi", "__Host-pilvi-visit"] {
        browser
            .cookies
            .push((name.to_owned(), "planted".to_owned()));
    }
    let form = browser.get("/console/sign-in").await.form_token();
    let fields = [
        ("form", form.as_str()),
        ("email", "operator@localhost"),
        ("password", PASSWORD),
    ];
    let signed_in = browser.post("/console/sign-in", &fields).await;
    assert_eq!(signed_in.location(), "/console/profile");
    let first = browser.cookie("__Host-pilvi").unwrap().to_owned();
    assert_ne!(first, "planted");
    let planted = Secret::new("planted");
    assert!(
        world
            .platform
            .find_session(&planted)
            .await
            .unwrap()
            .is_none()
    );

    // A second sign-in gives another one, and the form's token of the first serves it not.
    let old_form = browser.get("/console/profile").await.form_token();
    let mut again = world.signed_in().await;
    assert_ne!(again.cookie("__Host-pilvi").unwrap(), first);
    let refused = again
        .post("/console/sign-out", &[("form", &old_form)])
        .await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn signing_out_ends_the_session_and_not_only_the_cookie() {
    let world = World::new(Registration::Open).await;
    let mut browser = world.signed_in().await;
    let secret = Secret::new(browser.cookie("__Host-pilvi").unwrap());
    let form = browser.get("/console/profile").await.form_token();
    let answer = browser.post("/console/sign-out", &[("form", &form)]).await;
    assert_eq!(answer.location(), "/console/sign-in?news=signed-out");
    assert_eq!(browser.cookie("__Host-pilvi"), None);
    assert!(
        world
            .platform
            .find_session(&secret)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn who_is_not_signed_in_is_sent_to_sign_in_and_back() {
    let world = World::new(Registration::Open).await;
    let mut browser = world.browser();
    let answer = browser.get("/console/profile?news=name").await;
    assert_eq!(answer.status, 303);
    assert_eq!(
        answer.location(),
        "/console/sign-in?next=%2Fconsole%2Fprofile%3Fnews%3Dname"
    );
    let page = browser.get(answer.location()).await;
    assert!(
        page.text
            .contains(r#"name="next" value="/console/profile?news=name""#)
    );
    let form = page.form_token();
    for (next, reached) in [
        ("/console/profile?news=name", "/console/profile?news=name"),
        ("https://evil.example/", "/console/profile"),
        ("//evil.example/", "/console/profile"),
    ] {
        let fields = [
            ("form", form.as_str()),
            ("next", next),
            ("email", "operator@localhost"),
            ("password", PASSWORD),
        ];
        let answer = browser.post("/console/sign-in", &fields).await;
        assert_eq!(answer.location(), reached);
    }
}

#[tokio::test]
async fn who_comes_by_a_link_from_another_site_is_still_signed_in() {
    let world = World::new(Registration::Open).await;
    let browser = world.browser();
    let from_elsewhere = browser
        .request("GET", "/console/profile")
        .header("sec-fetch-site", "cross-site");
    let request = from_elsewhere.body(Body::empty()).unwrap();
    let answer = world.send(request, arrival()).await;
    assert_eq!(answer.status, 200);
    let sent_on = r#"http-equiv="refresh" content="0; url=/console/profile""#;
    assert!(answer.text.contains(sent_on), "{}", answer.text);
    assert_eq!(answer.headers.get(SET_COOKIE), None);
}

#[tokio::test]
async fn every_page_is_guarded() {
    let world = World::new(Registration::Open).await;
    let mut browser = world.signed_in().await;
    for (path, status) in [
        ("/console/profile", 200),
        ("/console/sign-up", 303),
        ("/console/forgot", 200),
        ("/console/reset?code=00", 200),
        ("/console/verify?code=00", 200),
        ("/console/device", 200),
        ("/console/nothing", 404),
        ("/console/sign-out", 405),
        ("/", 303),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        assert!(
            header("content-security-policy").starts_with("default-src 'none';"),
            "{path}"
        );
        assert!(
            !header("content-security-policy").contains("unsafe"),
            "{path}"
        );
        assert_eq!(header("content-type"), "text/html; charset=utf-8", "{path}");
        assert_eq!(header("cache-control"), "no-store", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "same-origin", "{path}");
        assert!(!answer.text.contains("<script"), "{path}");
        assert!(!answer.text.contains("style="), "{path}");
    }
}

#[tokio::test]
async fn over_plain_http_the_pages_are_for_this_machine_alone() {
    let world = World::new(Registration::Open).await;
    let ask = async |secure, peer: &str| {
        let arrival = Arrival {
            secure,
            peer: peer.parse().unwrap(),
            ..arrival()
        };
        let request = Request::get("/console/sign-in")
            .body(Body::empty())
            .unwrap();
        world.send(request, arrival).await.status
    };
    assert_eq!(ask(false, "127.0.0.1:5000").await, 200);
    assert_eq!(ask(false, "[::1]:5000").await, 200);
    assert_eq!(ask(true, "192.0.2.1:5000").await, 200);
    assert_eq!(ask(false, "192.0.2.1:5000").await, 403);
}

#[tokio::test]
async fn what_people_type_is_text_and_nothing_else() {
    let world = World::new(Registration::Open).await;
    let mut browser = world.signed_in().await;
    let form = browser.get("/console/profile").await.form_token();
    let script = "<script>alert(1)</script>\"'";
    let fields = [("form", form.as_str()), ("new-name", script)];
    let answer = browser.post("/console/profile/name", &fields).await;
    assert_eq!(answer.location(), "/console/profile?news=name");
    let page = browser.get("/console/profile").await;
    assert!(
        page.text
            .contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;")
    );
    assert!(!page.text.contains("<script>"));
    let fields = [("form", form.as_str()), ("name", ""), ("life", "90")];
    let refused = browser.post("/console/profile/tokens", &fields).await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.text.contains("The name is required."),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn a_token_is_shown_once() {
    let world = World::new(Registration::Open).await;
    let mut browser = world.signed_in().await;
    let form = browser.get("/console/profile").await.form_token();
    let fields = [("form", form.as_str()), ("name", "laptop"), ("life", "30")];
    let made = browser.post("/console/profile/tokens", &fields).await;
    assert_eq!(made.status, 200);
    assert_eq!(made.text.matches("pilvi_pat_").count(), 1);
    let page = browser.get("/console/profile").await.text;
    assert!(!page.contains("pilvi_pat_"));
    assert!(
        page.contains("ends on <time datetime=\"2015-04-17"),
        "{page}"
    );

    // An end that nobody offers.
    let fields = [("form", form.as_str()), ("name", "x"), ("life", "100000")];
    let refused = browser.post("/console/profile/tokens", &fields).await;
    assert_eq!(refused.status, 422);
}

#[tokio::test]
async fn a_wrong_password_is_answered_kindly_and_not_for_ever() {
    let world = World::new(Registration::Open).await;
    let mut browser = world.browser();
    let form = browser.get("/console/sign-in").await.form_token();
    let fields = [
        ("form", form.as_str()),
        ("email", "operator@localhost"),
        ("password", "not the password"),
    ];
    for _ in 0..10 {
        let answer = browser.post("/console/sign-in", &fields).await;
        assert_eq!(answer.status, 401);
        assert!(
            answer
                .text
                .contains("The e-mail address or the password is wrong")
        );
        assert!(answer.text.contains(r#"value="operator@localhost""#));
        assert!(!answer.text.contains("not the password"));
    }
    let answer = browser.post("/console/sign-in", &fields).await;
    assert_eq!(answer.status, 429);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(browser.cookie("__Host-pilvi"), None);
    world.clock.advance(Duration::from_secs(3600));
    world.signed_in().await;
}

#[tokio::test]
async fn a_closed_server_says_so() {
    let world = World::new(Registration::Closed).await;
    let mut browser = world.browser();
    let page = browser.get("/console/sign-in").await;
    assert!(!page.text.contains("/console/sign-up"));
    let refused = browser.get("/console/sign-up").await;
    assert_eq!(refused.status, 403);
    assert!(
        refused
            .text
            .contains("The operator of this server makes the logins")
    );
    let form = page.form_token();
    let fields = [
        ("form", form.as_str()),
        ("email", "a@example.org"),
        ("name", "A"),
        ("password", PASSWORD),
    ];
    assert_eq!(browser.post("/console/sign-up", &fields).await.status, 403);
}

#[tokio::test]
async fn a_changed_password_keeps_this_browser_and_no_other() {
    let world = World::new(Registration::Open).await;
    let mut other = world.signed_in().await;
    let mut browser = world.signed_in().await;
    let form = browser.get("/console/profile").await.form_token();
    let mut change = async |current: &str| {
        let fields = [
            ("form", form.as_str()),
            ("current", current),
            ("password", "another good password"),
        ];
        let answer = browser.post("/console/profile/password", &fields).await;
        (answer.status.as_u16(), answer.location().to_owned())
    };
    assert_eq!(change("not it").await.0, 422);
    assert_eq!(other.get("/console/profile").await.status, 200);
    assert_eq!(change(PASSWORD).await.1, "/console/profile?news=password");
    assert_eq!(browser.get("/console/profile").await.status, 200);
    assert_eq!(other.get("/console/profile").await.status, 303);
}

#[tokio::test]
async fn no_other_path_reads_the_cookie() {
    let world = World::new(Registration::Open).await;
    let browser = world.signed_in().await;
    for path in [
        "/v1/user",
        "/v1/user/accounts",
        "/v1/authorizations",
        "/v1/datacenters",
    ] {
        let request = browser.request("GET", path).body(Body::empty()).unwrap();
        let answer = world.send(request, arrival()).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.headers.get(SET_COOKIE), None, "{path}");
    }
}

#[tokio::test]
async fn only_who_asked_for_an_address_confirms_it() {
    let world = World::new(Registration::Open).await;
    let code = world.code_for("aino@example.org").await;
    let page = format!("/console/verify?code={code}");
    // The owner of the mailbox follows the link, and is nobody here.
    let mut stranger = world.browser();
    let sent = stranger.get(&page).await;
    let next = format!("/console/sign-in?next=%2Fconsole%2Fverify%3Fcode%3D{code}");
    assert_eq!(sent.location(), next);
    let form = stranger.get("/console/sign-in").await.form_token();
    let fields = [("form", form.as_str()), ("code", code.as_str())];
    let refused = stranger.post("/console/verify", &fields).await;
    assert_eq!(refused.location(), next);
    // Or is somebody else here.
    let mut other = world.signed_in_as("bert@example.org").await;
    let refused = other.get(&page).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let form = other.get("/console/forgot").await.form_token();
    let fields = [("form", form.as_str()), ("code", code.as_str())];
    assert_eq!(other.post("/console/verify", &fields).await.status, 403);

    let mut own = world.signed_in().await;
    let shown = own.get(&page).await;
    assert!(shown.text.contains("aino@example.org"), "{}", shown.text);
    let form = shown.form_token();
    let fields = [("form", form.as_str()), ("code", code.as_str())];
    let done = own.post("/console/verify", &fields).await;
    assert_eq!(done.location(), "/console/profile?news=confirmed");
}
