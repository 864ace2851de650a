//! What the Qt library's test tooling reads of the answers about apps and types (`eds.md` §14), and what it has to have
//! done before.

use pilvi_e2e::api::{Cloud, text};
use pilvi_e2e::captures::Captured;
use pilvi_e2e::http::Request;
use pilvi_e2e::shape;
use serde_json::{Value, json};

use super::{Replayed, World};

const PASSWORD: &str = "correct-horse-battery";
const LOGIN: &str = "/v1/account/auth/oauth2/token";

/// Whoever runs the tooling.
pub(super) struct Tooling {
    email: String,
    token: String,
}

impl Tooling {
    /// Gives the server's first person a password, and signs in with it.
    #[track_caller]
    pub(super) fn new(cloud: &Cloud, http: std::net::SocketAddr) -> Self {
        let body = json!({ "password": PASSWORD });
        cloud
            .send(Request::put("/v1/user/password").json(&body))
            .must_be(200);
        let email = text(&cloud.send(Request::get("/v1/user")).must_be(200), "/email");
        let form = format!(
            "grant_type=password&username={}&password={PASSWORD}",
            email.replace('@', "%40")
        );
        let login = Request::post(LOGIN).body(form).send(http).must_be(200);
        Self {
            token: text(&login, "/access_token"),
            email,
        }
    }
}

/// Whether a request belongs to the tooling, and not to the library.
pub(super) fn is_of_the_tooling(captured: &Captured) -> bool {
    captured.target.starts_with("/v1/account/") || captured.target == "/v1/object_types"
}

/// Puts in what the recording does not say: who signs in, and the keys of an app.
#[track_caller]
pub(super) fn prepare(world: &World, captured: &mut Captured) {
    if !is_of_the_tooling(captured) {
        return;
    }
    let tooling = world.tooling();
    if captured.target == LOGIN {
        let email = tooling.email.replace('@', "%40");
        captured.body = captured
            .body
            .replacen("NAME", &email, 1)
            .replacen("NAME", PASSWORD, 1);
    }
    let app = (captured.target == "/v1/object_types").then(|| create_app(world));
    for (name, value) in &mut captured.headers {
        match (name.as_str(), &app) {
            ("Authorization", _) => *value = format!("Bearer {}", tooling.token),
            ("Enginio-Backend-Id", Some(app)) => *value = text(app, "/environments/0/id"),
            ("Enginio-Backend-MasterKey", Some(app)) => {
                *value = text(app, "/environments/0/masterKeys/0/key");
            }
            _ => {}
        }
    }
}

/// An app of the tooling's.
#[track_caller]
pub(super) fn create_app(world: &World) -> Value {
    let create = Request::post("/v1/account/apps")
        .bearer(&world.tooling().token)
        .json(&json!({"name": "EnginioClient1700000000000"}));
    create.send(world.http).must_be(201)
}

#[track_caller]
fn is_app(app: &Value) {
    let id = text(app, "/id");
    assert!(!text(app, "/name").is_empty());
    let environments = app["environments"].as_array();
    let development = environments
        .into_iter()
        .flatten()
        .find(|environment| environment["name"] == "development");
    let development = development.expect("the tooling looks for this environment");
    assert_eq!(development["appId"], *id);
    assert!(shape::is_hex(&text(development, "/id"), 24));
    for keys in ["apiKeys", "masterKeys"] {
        assert!(!text(development, &format!("/{keys}/0/key")).is_empty());
    }
}

pub(super) fn signs_in(replayed: &Replayed<'_>) {
    assert!(!text(&replayed.must_be(200), "/access_token").is_empty());
}

pub(super) fn creates_an_app(replayed: &Replayed<'_>) {
    let app = replayed.must_be(201);
    is_app(&app);
    assert_eq!(app["name"], replayed.sent()["name"]);
}

pub(super) fn lists_apps(replayed: &Replayed<'_>) {
    let made = create_app(replayed.world);
    assert!(replayed.must_be(200)["results"].is_array());
    let again = Request::get("/v1/account/apps")
        .bearer(&replayed.world.tooling().token)
        .send(replayed.world.http)
        .must_be(200);
    let apps = shape::results(&again);
    assert!(apps.iter().any(|app| app["id"] == made["id"]), "{again}");
}

pub(super) fn shows_the_app(replayed: &Replayed<'_>) {
    let app = replayed.must_be(200);
    is_app(&app);
    assert_eq!(Some(app), replayed.object);
}

/// The reply counts as a success when it has properties.
pub(super) fn describes_a_type(replayed: &Replayed<'_>) {
    let (sent, described) = (replayed.sent(), replayed.must_be(201));
    let name = format!("objects.{}", text(&sent, "/name"));
    assert_eq!(described["name"], *name);
    let names = |described: &Value| -> Vec<String> {
        let properties = described["properties"].as_array();
        let properties = properties.expect("a type has properties");
        properties
            .iter()
            .map(|known| text(known, "/name"))
            .collect()
    };
    assert_eq!(names(&described), names(&sent));
}
