//! The flow of the original's test tooling, over real HTTP: sign in, make an app, describe its types, use it with the
//! keys that came with it, delete it (`eds.md` §14).

use pilvi_e2e::api::text;
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::server::Server;
use pilvi_e2e::shape;
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";

/// A call to the account interface, with what the tooling leaves in its headers from the call before.
fn account(server: &Server, request: Request, token: &str) -> Reply {
    request
        .header("Accept", "application/json")
        .header("Enginio-Backend-Id", "51cdbc08989e975ec300772a")
        .header("Enginio-Backend-MasterKey", "left over from another app")
        .bearer(token)
        .send(server.http)
}

/// The server's first person, with a password.
fn person_with_password(server: &Server) -> String {
    let cloud = server.cloud();
    let body = json!({"password": PASSWORD});
    cloud
        .send(Request::put("/v1/user/password").json(&body))
        .must_be(200);
    text(&cloud.send(Request::get("/v1/user")).must_be(200), "/email")
}

#[test]
fn the_test_tooling_signs_in_makes_an_app_uses_it_and_deletes_it() {
    let server = Server::serve();
    let email = person_with_password(&server);
    let form = format!(
        "grant_type=password&username={}&password={}",
        email.replace('@', "%40"),
        PASSWORD.replace(' ', "%20")
    );
    let login = |form: &str| {
        Request::post("/v1/account/auth/oauth2/token")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send(server.http)
    };
    let refused = login("grant_type=password&username=nobody&password=x").must_be(400);
    assert_eq!(refused["error"], "invalid_grant");
    let token = text(&login(&form).must_be(200), "/access_token");

    let name = json!({"name": "EnginioClient1700000000000"});
    let made = account(
        &server,
        Request::post("/v1/account/apps").json(&name),
        &token,
    )
    .must_be(201);
    let app = text(&made, "/id");
    let environment = &made["environments"][0];
    assert_eq!(environment["name"], "development");
    let backend = text(environment, "/id");
    let secret = text(environment, "/apiKeys/0/key");
    let master = text(environment, "/masterKeys/0/key");
    let list = account(&server, Request::get("/v1/account/apps"), &token).must_be(200);
    assert!(
        list["results"]
            .as_array()
            .unwrap()
            .iter()
            .any(|known| known["id"] == app.as_str())
    );
    let shown = account(
        &server,
        Request::get(format!("/v1/account/apps/{app}")),
        &token,
    )
    .must_be(200);
    assert_eq!(shown, made);

    let types = json!({"name": "CustomObject1", "settings": {"websocket": true}, "properties": [
        {"name": "title", "type": "string", "indexed": false},
        {"name": "count", "type": "number", "indexed": false},
        {"name": "done", "type": "boolean", "indexed": false},
        {"name": "fileAttachment", "type": "ref", "objectType": "files", "indexed": true,
         "processors": [{"type": "image", "variants": {"thumbnail": {"crop": "20x20"}}}]}]});
    let describe = Request::post("/v1/object_types")
        .header("Accept", "application/json")
        .header("Enginio-Backend-MasterKey", &*master)
        .backend(&backend)
        .bearer(&token)
        .json(&types);
    let described = describe.send(server.http).must_be(201);
    assert_eq!(described["name"], "objects.CustomObject1");
    assert_eq!(described["properties"].as_array().unwrap().len(), 4);

    // The app is open, and its key is the one that clients of 2013 send.
    let create = |secret: &str| {
        Request::post("/v1/objects/CustomObject1")
            .backend(&backend)
            .header("Enginio-Backend-Secret", secret)
            .json(&json!({"title": "A", "count": 1}))
            .send(server.http)
    };
    let object = create(&secret).must_be(201);
    shape::object(
        &object,
        "objects.CustomObject1",
        &json!({"title": "A", "count": 1}),
    );
    create("").must_be(201);
    shape::eds_error(&create("wrong"), 400, "BadRequest");
    let user = json!({"username": "logintest", "password": "logintest"});
    let users = Request::post("/v1/users").backend(&backend).json(&user);
    users.send(server.http).must_be(201);

    let remove = || {
        account(
            &server,
            Request::delete(format!("/v1/account/apps/{app}")),
            &token,
        )
    };
    assert_eq!(remove().must_be(200), json!({}));
    shape::eds_error(&remove(), 404, "NotFound");
    assert_eq!(create("").status, 400, "the backend is gone at once");
}

#[test]
fn the_tooling_of_before_oauth2_has_a_session() {
    let server = Server::serve();
    let email = person_with_password(&server);
    let identity = |password: &str| {
        let body = json!({"email": email, "password": password});
        Request::post("/v1/account/auth/identity")
            .json(&body)
            .send(server.http)
    };
    assert_eq!(identity("wrong").status, 401);
    let session = text(&identity(PASSWORD).must_be(200), "/sessionToken");
    let apps = |session: &str| {
        Request::get("/v1/account/apps")
            .header("Enginio-Backend-Session", session)
            .send(server.http)
    };
    assert!(apps(&session).must_be(200)["results"].is_array());
    shape::eds_error(&apps("none"), 401, "Unauthorized");
    // The console's token of a person does, too, and the login opens nothing else.
    let list = account(
        &server,
        Request::get("/v1/account/apps"),
        &server.cloud().token,
    );
    assert_eq!(list.must_be(200)["results"], json!([]));
    let elsewhere = Request::get("/v1/user/accounts")
        .bearer(&session)
        .send(server.http);
    assert_eq!(elsewhere.status, 401);
    let logged: Value = server
        .cloud()
        .send(Request::get("/v1/server/log"))
        .must_be(200);
    assert!(logged.to_string().contains("person.sign_in"), "{logged}");
    assert!(!server.log().contains(&session), "no token is in the log");
}
