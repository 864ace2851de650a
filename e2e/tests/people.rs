//! Users, usergroups, signing in and the mails about it, over real HTTP.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{shape, wait};
use serde_json::{Value, json};

const TOKEN: &str = "/v1/auth/oauth2/token";

fn fault(property: &str, message: &str) -> Value {
    json!({"message": message, "property": property, "reason": "ValidationFailed"})
}

/// Registers as anybody can.
#[track_caller]
fn register(backend: &Backend, name: &str) -> Value {
    let user = json!({
        "username": name,
        "password": format!("{name}'s secret"),
        "email": format!("{name}@example.org"),
    });
    backend
        .send(Request::post("/v1/users").json(&user))
        .must_be(201)
}

fn login(backend: &Backend, name: &str, password: &str) -> Reply {
    let body = format!(
        "grant_type=password&username={}&password={}",
        escape(name),
        escape(password)
    );
    backend.send(form(TOKEN, &body))
}

fn form(path: &str, body: &str) -> Request {
    Request::post(path)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(body)
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Signs in and gives the access token.
#[track_caller]
fn sign_in(backend: &Backend, name: &str) -> String {
    let reply = login(backend, name, &format!("{name}'s secret")).must_be(200);
    text(&reply, "/access_token")
}

fn who(backend: &Backend, token: &str) -> Reply {
    backend.send(Request::get("/v1/user").bearer(token))
}

#[track_caller]
fn must_fail(reply: &Reply) {
    let body = reply.must_be(400);
    assert_eq!(body["error"], "invalid_grant");
    assert!(body["error_description"].is_string());
    assert_eq!(body["errors"][0]["reason"], "InvalidCredentials");
    assert!(body["errors"][0]["message"].is_string());
}

#[test]
fn registering_says_exactly_what_is_wrong() {
    let server = Server::demo();
    let backend = server.backend();
    let create = |body: Value| backend.send(Request::post("/v1/users").json(&body));
    let anna =
        create(json!({"username": "anna", "password": "x", "firstName": "Anna", "shoe": 38}))
            .must_be(201);
    shape::object(
        &anna,
        "users",
        &json!({"username": "anna", "firstName": "Anna", "shoe": 38}),
    );
    assert_eq!(
        anna["creator"],
        json!({"id": anna["id"], "objectType": "users"})
    );
    assert!(anna.get("password").is_none());

    let no_password = fault("password", "can't be blank");
    let rows = [
        (json!({"username": "bea"}), vec![no_password.clone()]),
        (
            json!({"username": "bea", "password": ""}),
            vec![no_password.clone()],
        ),
        (
            json!({"username": "anna", "password": "y"}),
            vec![fault("username", "has already been taken")],
        ),
        (
            json!({}),
            vec![fault("username", "can't be blank"), no_password],
        ),
    ];
    for (body, faults) in rows {
        assert_eq!(create(body).must_be(400), json!({ "errors": faults }));
    }
    shape::eds_error(&create(json!([])), 400, "BadRequest");

    // A name with spaces and braces is one like any other, and is found.
    for name in ["first user", "{72b23a9d-7eb3-47bb-8205-df023294ab5f}"] {
        register(&backend, name);
        let q = escape(&json!({ "username": name }).to_string());
        let found = backend
            .send(Request::get(format!("/v1/users?q={q}")))
            .must_be(200);
        let found = shape::list(&found, &json!({ "username": name }));
        assert_eq!(found.len(), 1, "{name}");
        assert!(found[0].get("password").is_none());
    }
    // Nobody's password can be guessed by asking for it.
    for q in [r#"{"password":"x"}"#, r#"{"password":{"$exists":true}}"#] {
        let reply = backend.send(Request::get(format!("/v1/users?q={}", escape(q))));
        match reply.status {
            200 => assert_eq!(reply.must_be(200)["results"], json!([])),
            _ => drop(shape::eds_error(&reply, 400, "BadRequest")),
        }
    }
    server.stop();
}

#[test]
fn a_login_is_understood_however_it_is_sent() {
    let server = Server::demo();
    let backend = server.backend();
    let create = json!({"username": "ä user", "password": "a+b c%"});
    backend
        .send(Request::post("/v1/users").json(&create))
        .must_be(201);
    let encoded = "grant_type=password&username=%C3%A4%20user&password=a%2Bb%20c%25";
    let json = json!({"grant_type": "password", "username": "ä user", "password": "a+b c%"});
    let requests = [
        form(TOKEN, encoded),
        // Android labels its form as JSON.
        Request::post(TOKEN)
            .header("Content-Type", "application/json")
            .body(encoded),
        Request::post(TOKEN).body(encoded),
        Request::post(TOKEN).json(&json),
        Request::post(TOKEN).body(json.to_string()),
        Request::post(format!("{TOKEN}?{encoded}")),
        // The Qt library leaves blanks, umlauts and the plus as they are.
        form(
            TOKEN,
            "grant_type=password&username=ä user&password=a+b c%25",
        ),
        // Ruby and Android write a blank as a plus.
        form(
            TOKEN,
            "grant_type=password&username=%C3%A4+user&password=a%2Bb+c%25",
        ),
        // Whoever changes users still sends the old token.
        form(TOKEN, encoded).bearer("0123456789abcdef01234567"),
        form(TOKEN, encoded).header("Enginio-Backend-Session", "stale"),
    ];
    for request in requests {
        let reply = backend.send(request.clone());
        assert_eq!(reply.status, 200, "{request:?} {}", reply.text());
        let reply = reply.must_be(200);
        assert_eq!(reply["token_type"], "bearer");
        assert_eq!(reply["expires_in"], 28_799);
        assert_eq!(reply["enginio_data"]["user"]["username"], "ä user");
        assert_eq!(reply["enginio_data"]["usergroups"], json!([]));
        assert!(!text(&reply, "/refresh_token").is_empty());
        let me = who(&backend, &text(&reply, "/access_token")).must_be(200);
        assert_eq!(me["id"], reply["enginio_data"]["user"]["id"]);
    }
    server.stop();
}

#[test]
fn a_failed_login_says_so_to_every_kind_of_client() {
    let server = Server::demo();
    let backend = server.backend();
    register(&backend, "anna");
    for (name, password) in [
        ("anna", "wrong"),
        ("nobody", "anna's secret"),
        ("anna", ""),
        ("", ""),
        ("anna", &"x".repeat(2000)),
    ] {
        must_fail(&login(&backend, name, password));
    }
    must_fail(&backend.send(form(TOKEN, "grant_type=refresh_token&refresh_token=x")));
    must_fail(&backend.send(form(TOKEN, "grant_type=refresh_token")));
    for (body, error) in [
        ("", "invalid_request"),
        ("grant_type=client_credentials", "unsupported_grant_type"),
    ] {
        let reply = backend.send(form(TOKEN, body)).must_be(400);
        assert_eq!(reply["error"], error);
        assert!(reply["errors"][0]["message"].is_string());
    }
    let nowhere = form(TOKEN, "grant_type=password&username=anna&password=x").send(server.http);
    shape::eds_error(&nowhere, 400, "BadRequest");
    let malformed = backend.send(Request::post(TOKEN).body("{\"grant_type\""));
    shape::eds_error(&malformed, 400, "BadRequest");
    // A token of one backend is none of another.
    let token = sign_in(&backend, "anna");
    let other = server.cloud().create_backend("other");
    shape::eds_error(&who(&other, &token), 401, "Unauthorized");
    shape::eds_error(
        &other.send(Request::get("/v1/users").bearer(&token)),
        401,
        "Unauthorized",
    );
    server.stop();
}

#[test]
fn a_session_is_renewed_once_by_each_token_and_ends_when_revoked() {
    let server = Server::demo();
    let backend = server.backend();
    register(&backend, "anna");
    let renew = |token: &str| {
        backend.send(form(
            TOKEN,
            &format!("grant_type=refresh_token&refresh_token={token}"),
        ))
    };
    let first = login(&backend, "anna", "anna's secret").must_be(200);
    let second = renew(&text(&first, "/refresh_token")).must_be(200);
    assert_eq!(shape::keys(&second), shape::keys(&first));
    must_fail(&renew(&text(&first, "/access_token")));
    let access = [&first, &second].map(|reply| text(reply, "/access_token"));
    for token in &access {
        who(&backend, token).must_be(200);
    }
    let revoke = |body: String| {
        backend
            .send(form("/v1/auth/oauth2/revoke", &body))
            .must_be(200)
    };
    assert_eq!(revoke(format!("token={}", access[0])), json!({}));
    shape::eds_error(&who(&backend, &access[0]), 401, "Unauthorized");
    // By the refresh token the whole session ends.
    revoke(format!("token={}", text(&second, "/refresh_token")));
    shape::eds_error(&who(&backend, &access[1]), 401, "Unauthorized");
    must_fail(&renew(&text(&second, "/refresh_token")));
    for again in [
        format!("token={}", access[1]),
        "token=nonsense".to_owned(),
        String::new(),
    ] {
        assert_eq!(revoke(again), json!({}));
    }
    server.stop();
}

#[test]
fn a_refresh_token_that_comes_a_second_time_ends_what_descends_from_it() {
    let server = Server::demo();
    let backend = server.backend();
    register(&backend, "anna");
    let renew = |token: &str| {
        backend.send(form(
            TOKEN,
            &format!("grant_type=refresh_token&refresh_token={token}"),
        ))
    };
    let first = login(&backend, "anna", "anna's secret").must_be(200);
    let elsewhere = login(&backend, "anna", "anna's secret").must_be(200);
    let second = renew(&text(&first, "/refresh_token")).must_be(200);
    let third = renew(&text(&second, "/refresh_token")).must_be(200);
    must_fail(&renew(&text(&first, "/refresh_token")));
    for reply in [&first, &second, &third] {
        let access = text(reply, "/access_token");
        shape::eds_error(&who(&backend, &access), 401, "Unauthorized");
    }
    must_fail(&renew(&text(&third, "/refresh_token")));
    who(&backend, &text(&elsewhere, "/access_token")).must_be(200);
    renew(&text(&elsewhere, "/refresh_token")).must_be(200);
    server.stop();
}

#[test]
fn clients_of_before_oauth2_have_a_session() {
    let server = Server::demo();
    let backend = server.backend();
    let anna = register(&backend, "anna");
    let group = backend
        .send(Request::post("/v1/usergroups").json(&json!({"name": "g"})))
        .must_be(201);
    let members = format!("{}/members", path_of(&group));
    backend
        .send(Request::post(&*members).json(&anna))
        .must_be(201);

    let identify = |password: &str| {
        let body = json!({"username": "anna", "password": password});
        backend.send(Request::post("/v1/auth/identity").json(&body))
    };
    shape::eds_error(&identify("wrong"), 401, "Unauthorized");
    let session = identify("anna's secret").must_be(200);
    assert_eq!(session["user"], anna);
    assert_eq!(session["usergroups"], json!([group]));
    let token = text(&session, "/sessionToken");
    let send = |request: Request| backend.send(request.header("Enginio-Backend-Session", &*token));
    assert_eq!(send(Request::get("/v1/session")).must_be(200), session);
    // The token counts on every data call.
    let todo = send(Request::post("/v1/objects/todos").body("{}")).must_be(201);
    assert_eq!(todo["creator"]["id"], anna["id"]);
    who(&backend, &token).must_be(200);

    assert_eq!(send(Request::delete("/v1/session")).must_be(200), json!({}));
    shape::eds_error(&send(Request::delete("/v1/session")), 401, "Unauthorized");
    shape::eds_error(&send(Request::get("/v1/session")), 401, "Unauthorized");
    shape::eds_error(
        &backend.send(Request::get("/v1/session")),
        401,
        "Unauthorized",
    );
    shape::eds_error(
        &send(Request::get("/v1/objects/todos")),
        401,
        "Unauthorized",
    );
    server.stop();
}

#[test]
fn whoever_asks_learns_who_they_are() {
    let server = Server::demo();
    let backend = server.backend();
    let anna = register(&backend, "anna");
    let token = sign_in(&backend, "anna");
    let me = who(&backend, &token).must_be(200);
    assert_eq!(me["id"], anna["id"]);
    assert_eq!(me["usergroups"], json!([]));
    let body = json!({"name": "g", "description": "d"});
    let group = backend
        .send(Request::post("/v1/usergroups").json(&body))
        .must_be(201);
    let members = format!("{}/members", path_of(&group));
    backend
        .send(Request::post(members).json(&anna))
        .must_be(201);
    let me = who(&backend, &token).must_be(200);
    let short = json!({"id": group["id"], "objectType": "usergroups", "name": "g"});
    assert_eq!(me["usergroups"], json!([short]));

    // The stranger at the door, a wrong token, and an administrator, who is no user.
    shape::eds_error(&backend.send(Request::get("/v1/user")), 401, "Unauthorized");
    shape::eds_error(&who(&backend, "nonsense"), 401, "Unauthorized");
    shape::eds_error(&who(&backend, &backend.token), 401, "Unauthorized");

    // A user who is deleted is signed in no more, and in no group.
    backend.send(Request::delete(path_of(&anna))).must_be(200);
    shape::eds_error(&who(&backend, &token), 401, "Unauthorized");
    let left = backend
        .send(Request::get(format!("{}/members", path_of(&group))))
        .must_be(200);
    assert_eq!(left["results"], json!([]));
    shape::eds_error(
        &backend.send(Request::delete(path_of(&anna))),
        404,
        "NotFound",
    );
    server.stop();
}

#[test]
fn groups_have_members() {
    let server = Server::demo();
    let backend = server.backend();
    let users = ["anna", "bea", "cara"].map(|name| register(&backend, name));
    let group = backend
        .send(Request::post("/v1/usergroups").json(&json!({"name": "g"})))
        .must_be(201);
    shape::object(&group, "usergroups", &json!({"name": "g"}));
    let path = format!("{}/members", path_of(&group));
    let reference = |user: &Value| json!({"id": user["id"], "objectType": "users"});
    for user in &users {
        let added = backend
            .send(Request::post(&*path).json(&reference(user)))
            .must_be(201);
        assert_eq!(&added, user);
    }
    let again = backend.send(Request::post(&*path).json(&reference(&users[0])));
    shape::eds_error(&again, 400, "ValidationFailed");

    let list = |parameters: &str| {
        backend
            .send(Request::get(format!("{path}{parameters}")))
            .must_be(200)
    };
    assert_eq!(list("")["results"], json!(users));
    assert_eq!(list("/?limit=1&offset=1")["results"], json!([users[1]]));
    assert_eq!(
        list("?q=%7B%22username%22:%22cara%22%7D")["results"],
        json!([users[2]])
    );
    let newest = "?sort=[%7B%22direction%22:%22desc%22,%22sortBy%22:%22username%22%7D]";
    assert_eq!(list(newest)["results"][0], users[2]);
    let count = list("?count=");
    assert_eq!((&count["count"], count.get("results")), (&json!(3), None));

    let remove = |body: &Value| backend.send(Request::delete(&*path).json(body));
    assert_eq!(remove(&reference(&users[0])).must_be(200), json!({}));
    assert_eq!(list("")["results"], json!(users[1..]));
    shape::eds_error(&remove(&reference(&users[0])), 404, "NotFound");
    // The Qt library cannot say whom; Ruby says `null`.
    shape::eds_error(&backend.send(Request::delete(&*path)), 400, "BadRequest");
    shape::eds_error(&remove(&json!(null)), 400, "BadRequest");

    for unknown in ["51cdbc08989e975ec300772a", "INVALID_ID"] {
        let path = format!("/v1/usergroups/{unknown}/members");
        let add = Request::post(&*path).json(&reference(&users[0]));
        shape::eds_error(&backend.send(add), 404, "NotFound");
        shape::eds_error(&backend.send(Request::get(path)), 404, "NotFound");
        let nobody = json!({"id": unknown, "objectType": "users"});
        let add = Request::post(format!("{}/members", path_of(&group))).json(&nobody);
        shape::eds_error(&backend.send(add), 404, "NotFound");
    }
    server.stop();
}

#[test]
fn a_new_password_counts_at_once() {
    let server = Server::demo();
    let backend = server.backend();
    let anna = register(&backend, "anna");
    let before = login(&backend, "anna", "anna's secret").must_be(200);
    // On an open backend anybody may, as the clients' tests expect.
    let body = json!({"id": anna["id"], "password": "new secret"});
    let changed = backend
        .send(Request::put(path_of(&anna)).json(&body))
        .must_be(200);
    assert_eq!(
        (&changed["id"], &changed["username"]),
        (&anna["id"], &anna["username"])
    );
    assert!(!changed.to_string().contains("secret"));
    must_fail(&login(&backend, "anna", "anna's secret"));
    login(&backend, "anna", "new secret").must_be(200);
    who(&backend, &text(&before, "/access_token")).must_be(200);
    let refresh = text(&before, "/refresh_token");
    must_fail(&backend.send(form(
        TOKEN,
        &format!("grant_type=refresh_token&refresh_token={refresh}"),
    )));

    for wrong in [json!(null), json!(""), json!(5)] {
        let body = json!({ "password": wrong });
        let reply = backend.send(Request::put(path_of(&anna)).json(&body));
        let errors = shape::eds_error(&reply, 400, "ValidationFailed");
        assert_eq!(errors["errors"][0]["property"], "password");
    }
    register(&backend, "bea");
    let taken = backend.send(Request::put(path_of(&anna)).json(&json!({"username": "bea"})));
    assert_eq!(
        taken.must_be(400),
        json!({"errors": [fault("username", "has already been taken")]})
    );
    // Whole objects come back, and mean what they say.
    let whole = backend.send(Request::get(path_of(&anna))).must_be(200);
    let again = backend
        .send(Request::put(path_of(&anna)).json(&whole))
        .must_be(200);
    assert_eq!(again["username"], "anna");
    login(&backend, "anna", "new secret").must_be(200);
    server.stop();
}

#[test]
fn guessing_is_slowed_and_nobody_else_notices() {
    let server = Server::demo();
    let backend = server.backend();
    register(&backend, "anna");
    register(&backend, "bea");
    for _ in 0..30 {
        login(&backend, "bea", "bea's secret").must_be(200);
    }
    for guess in 0..10 {
        must_fail(&login(&backend, "anna", &format!("guess {guess}")));
    }
    let refused = login(&backend, "anna", "guess 10");
    shape::eds_error(&refused, 429, "TooManyRequests");
    let seconds: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=31).contains(&seconds), "{seconds}");
    // Also for whoever guesses right by then, and in the other place to sign in.
    shape::eds_error(
        &login(&backend, "anna", "anna's secret"),
        429,
        "TooManyRequests",
    );
    let identity = json!({"username": "anna", "password": "anna's secret"});
    let identity = backend.send(Request::post("/v1/auth/identity").json(&identity));
    shape::eds_error(&identity, 429, "TooManyRequests");
    sign_in(&backend, "bea");
    // The name of another backend is another name.
    let other = server.cloud().create_backend("other");
    register(&other, "anna");
    sign_in(&other, "anna");
    server.stop();
}

/// The mails that lie in the data folder, oldest first.
fn mails(data: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(data.join("mail")) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "eml"));
    paths.sort();
    let texts = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap());
    texts.collect()
}

/// The code in a mail: four groups of five hex digits.
#[track_caller]
fn code(mail: &str) -> String {
    let mut words = mail.split_whitespace();
    let is_code =
        |word: &&str| word.len() == 23 && word.split('-').all(|group| shape::is_hex(group, 5));
    words.find(is_code).expect("the mail has a code").to_owned()
}

#[test]
fn a_forgotten_password_is_replaced_by_mail() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Server::start(&Options {
        data: Some(data.to_owned()),
        ..Options::demo()
    });
    let backend = server.backend();
    register(&backend, "anna");
    let token = sign_in(&backend, "anna");
    let ask = |body: Value| backend.send(Request::post("/v1/auth/password_reset").json(&body));
    // Nobody learns who is known.
    let known = ask(json!({"username": "anna"}));
    let unknown = ask(json!({"username": "nobody"}));
    assert_eq!(known.must_be(200), unknown.must_be(200));
    shape::eds_error(&ask(json!({})), 400, "BadRequest");
    let mail = wait::until("a mail", Duration::from_secs(20), || {
        mails(data).into_iter().next()
    });
    assert!(mail.contains("To: anna@example.org\r\n"), "{mail}");

    let confirm = |token: &str, password: &str| {
        let body = json!({"token": token, "password": password});
        backend.send(Request::post("/v1/auth/password_reset/confirm").json(&body))
    };
    let code = code(&mail);
    let wrong = confirm("00000-00000-00000-00000", "new");
    assert_eq!(
        shape::eds_error(&wrong, 400, "ValidationFailed")["errors"][0]["property"],
        "token"
    );
    let blank = confirm(&code, "");
    assert_eq!(
        blank.must_be(400),
        json!({"errors": [fault("password", "can't be blank")]})
    );
    assert_eq!(
        confirm(&code.to_uppercase(), "new secret").must_be(200),
        json!({})
    );
    shape::eds_error(&confirm(&code, "newer secret"), 400, "ValidationFailed");

    must_fail(&login(&backend, "anna", "anna's secret"));
    let again = login(&backend, "anna", "new secret").must_be(200);
    shape::eds_error(&who(&backend, &token), 401, "Unauthorized");
    // The mail reached its reader, so the address is proven.
    let me = who(&backend, &text(&again, "/access_token")).must_be(200);
    assert_eq!(me["emailVerified"], true);

    // Somebody who asks all the time is told to wait, known or not.
    let refused = (0..10)
        .map(|_| ask(json!({"email": "a@b.c"})))
        .find(|reply| reply.status != 200);
    shape::eds_error(&refused.expect("there is a bound"), 429, "TooManyRequests");
    server.stop();
}

#[test]
fn an_address_is_proven_by_mail() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Server::start(&Options {
        data: Some(data.to_owned()),
        ..Options::demo()
    });
    let backend = server.backend();
    let anna = register(&backend, "anna");
    let token = sign_in(&backend, "anna");
    let ask = Request::post("/v1/auth/email_verification");
    shape::eds_error(&backend.send(ask.clone()), 401, "Unauthorized");
    assert_eq!(who(&backend, &token).must_be(200)["emailVerified"], false);
    assert_eq!(
        backend.send(ask.clone().bearer(&token)).must_be(200),
        json!({})
    );
    let mail = wait::until("a mail", Duration::from_secs(20), || {
        mails(data).into_iter().next()
    });
    let confirm = |code: &str| {
        let body = json!({ "token": code });
        backend.send(Request::post("/v1/auth/email_verification/confirm").json(&body))
    };
    assert_eq!(confirm(&code(&mail)).must_be(200), json!({}));
    shape::eds_error(&confirm(&code(&mail)), 400, "ValidationFailed");
    assert_eq!(who(&backend, &token).must_be(200)["emailVerified"], true);

    let moved = json!({"email": "", "emailVerified": true});
    backend
        .send(Request::put(path_of(&anna)).json(&moved))
        .must_be(200);
    assert_eq!(who(&backend, &token).must_be(200)["emailVerified"], false);
    shape::eds_error(&backend.send(ask.bearer(&token)), 400, "ValidationFailed");
    server.stop();
}

#[test]
fn a_gateway_knows_the_users_of_a_backend() {
    let server = Server::demo();
    let (backend, gateway) = (server.backend(), server.gateway());
    let anna = register(&backend, "anna");
    register(&backend, "bea");
    let group = backend
        .send(Request::post("/v1/usergroups").json(&json!({"name": "g"})))
        .must_be(201);
    backend
        .send(Request::post(format!("{}/members", path_of(&group))).json(&anna))
        .must_be(201);
    let configuration = json!({
        "identityProvider": {"type": "eds", "backendId": backend.id},
        "permissions": {"read": ["*"], "write": [format!("usergroups.{}", text(&group, "/id"))]},
    });
    let put = Request::put(gateway.path("configuration")).json(&configuration);
    assert_eq!(
        gateway.send_as_admin(put).must_be(200)["accessControl"],
        "eds"
    );

    let uri =
        |token: &str| gateway.send(&Request::get(gateway.path("websocket_uri")).bearer(token));
    let send = |token: &str| {
        let message = json!({"data": "x", "receivers": {"sockets": [], "tags": []}});
        gateway.send(
            &Request::post(gateway.path("messages"))
                .json(&message)
                .bearer(token),
        )
    };
    let (annas, beas) = (sign_in(&backend, "anna"), sign_in(&backend, "bea"));
    let tags = [
        format!("users.{}", text(&anna, "/id")),
        format!("usergroups.{}", text(&group, "/id")),
        "aclSubject.authenticated".to_owned(),
    ];
    assert_eq!(uri(&annas).must_be(200)["tags"], json!(tags));
    assert_eq!(uri(&beas).must_be(200)["tags"].as_array().unwrap().len(), 2);
    send(&annas).must_be(201);
    shape::error(&send(&beas), 403, "Forbidden");
    shape::error(&uri("nonsense"), 401, "AccessDenied");
    shape::error(
        &gateway.send(&Request::get(gateway.path("websocket_uri"))),
        401,
        "AccessDenied",
    );

    // Whoever leaves the group or the app loses what came with it.
    let member = json!({"id": anna["id"], "objectType": "users"});
    backend
        .send(Request::delete(format!("{}/members", path_of(&group))).json(&member))
        .must_be(200);
    shape::error(&send(&annas), 403, "Forbidden");
    backend.send(Request::delete(path_of(&anna))).must_be(200);
    shape::error(&uri(&annas), 401, "AccessDenied");
    server.stop();
}

#[test]
fn a_password_appears_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Server::start(&Options {
        data: Some(data.to_owned()),
        log: Some("trace"),
        ..Options::demo()
    });
    let backend = server.backend();
    let secrets = ["Rosengarten-1", "Rosengarten-2", "Rosengarten-3"];
    let user = json!({"username": "anna", "password": secrets[0]});
    let anna = backend
        .send(Request::post("/v1/users").json(&user))
        .must_be(201);
    let signed_in = login(&backend, "anna", secrets[0]).must_be(200);
    must_fail(&login(&backend, "anna", secrets[1]));
    let change = json!({"password": secrets[2]});
    let changed = backend
        .send(Request::put(path_of(&anna)).json(&change))
        .must_be(200);
    let query = Request::get(format!("{TOKEN}?password={}", secrets[1]));
    let refused = backend.send(query).text();
    let listed = backend
        .send_as_admin(Request::get("/v1/users"))
        .must_be(200);
    for reply in [anna, signed_in.clone(), changed, listed, json!(refused)] {
        let reply = reply.to_string();
        assert!(
            !reply.contains("Rosengarten") && !reply.contains("argon2"),
            "{reply}"
        );
    }
    let log = server.log();
    assert!(
        !log.contains("Rosengarten") && !log.contains("argon2id$"),
        "the log shows a password"
    );
    let token = text(&signed_in, "/access_token");
    assert!(!log.contains(&*token), "the log shows a token");
    server.stop();
    let mut files = vec![data.to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        // A socket holds nothing.
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for secret in [b"Rosengarten".as_slice(), token.as_bytes()] {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{} holds a secret", path.display());
        }
    }
}

#[test]
fn many_logins_at_once_all_succeed_and_many_guesses_do_not_slip_through() {
    let server = Server::demo();
    let backend = server.backend();
    register(&backend, "anna");
    register(&backend, "bea");
    let statuses = |name: &str, password: &str| -> Vec<u16> {
        std::thread::scope(|scope| {
            let attempt = || login(&backend, name, password).status;
            let attempts: Vec<_> = (0..40).map(|_| scope.spawn(attempt)).collect();
            attempts
                .into_iter()
                .map(|attempt| attempt.join().unwrap())
                .collect()
        })
    };
    assert_eq!(statuses("anna", "anna's secret"), [200; 40]);
    let guesses = statuses("bea", "wrong");
    let heard = guesses.iter().filter(|status| **status == 400).count();
    let refused = guesses.iter().filter(|status| **status == 429).count();
    // As many more as are checked at the same moment may be heard.
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!((10..10 + cores).contains(&heard), "{guesses:?}");
    assert_eq!(heard + refused, guesses.len(), "{guesses:?}");
    server.stop();
}

#[test]
fn in_a_private_backend_users_are_their_own() {
    let server = Server::demo();
    let cloud = server.cloud();
    let path = format!("/v1/accounts/{}/instances", cloud.account_id);
    let body =
        json!({"name": "private", "serviceProviderId": "eds", "config": {"openness": "private"}});
    let instance = cloud.send(Request::post(path).json(&body)).must_be(201);
    let backend = Backend::new(server.http, &text(&instance, "/id"), "");
    let (anna, bea) = (register(&backend, "anna"), register(&backend, "bea"));
    let (annas, beas) = (sign_in(&backend, "anna"), sign_in(&backend, "bea"));
    who(&backend, &annas).must_be(200);

    shape::eds_error(
        &backend.send(Request::get("/v1/users")),
        401,
        "Unauthorized",
    );
    let seen = backend
        .send(Request::get("/v1/users").bearer(&beas))
        .must_be(200);
    assert_eq!(seen["results"], json!([bea]));
    let change = |token: &str, body: Value| {
        backend.send(Request::put(path_of(&anna)).json(&body).bearer(token))
    };
    for body in [json!({"email": "x"}), json!({"password": "x"})] {
        shape::eds_error(&change(&beas, body), 404, "NotFound");
    }
    change(&annas, json!({"password": "new secret"})).must_be(200);
    login(&backend, "anna", "new secret").must_be(200);

    let group = Request::post("/v1/usergroups").json(&json!({"name": "g"}));
    shape::eds_error(&backend.send(group.clone()), 401, "Unauthorized");
    let group = backend.send(group.bearer(&annas)).must_be(201);
    let members = format!("{}/members", path_of(&group));
    let add = Request::post(&*members).json(&json!({"id": bea["id"], "objectType": "users"}));
    shape::eds_error(&backend.send(add.clone()), 404, "NotFound");
    shape::eds_error(&backend.send(add.clone().bearer(&beas)), 404, "NotFound");
    // Anna may add Bea and not look at her.
    let added = backend.send(add.bearer(&annas)).must_be(201);
    assert_eq!(added, json!({"id": bea["id"], "objectType": "users"}));
    let listed = backend
        .send(Request::get(&*members).bearer(&annas))
        .must_be(200);
    assert_eq!(listed["results"], json!([]));
    let groups = who(&backend, &beas).must_be(200);
    assert_eq!(groups["usergroups"][0]["id"], group["id"]);

    // Being in a group counts from the next request on.
    let note = backend
        .send(Request::post("/v1/objects/notes").body("{}").bearer(&annas))
        .must_be(201);
    let read = || backend.send(Request::get(path_of(&note)).bearer(&beas));
    shape::eds_error(&read(), 404, "NotFound");
    let access = json!({"read": [{"id": group["id"], "objectType": "usergroups"}]});
    let share = Request::put(format!("{}/access", path_of(&note))).json(&access);
    backend.send(share.bearer(&annas)).must_be(200);
    read().must_be(200);
    let remove = Request::delete(&*members).json(&json!({"id": bea["id"], "objectType": "users"}));
    backend.send(remove.bearer(&annas)).must_be(200);
    shape::eds_error(&read(), 404, "NotFound");
    server.stop();
}

/// A mail server for one mail: hands out what it was sent.
fn mail_server() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let (hand_out, mails) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut out = &stream;
        let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
        out.write_all(b"220 test\r\n").unwrap();
        while let Some(line) = lines.next() {
            if line == "DATA" {
                out.write_all(b"354 go on\r\n").unwrap();
                let mail: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                hand_out.send(mail.join("\r\n")).unwrap();
            }
            out.write_all(b"250 yes\r\n").unwrap();
            if line == "QUIT" {
                break;
            }
        }
    });
    (url, mails)
}

#[test]
fn mail_goes_through_the_server_that_is_named() {
    let (url, mails) = mail_server();
    let server = Server::start(&Options {
        smtp_url: Some(url),
        ..Options::demo()
    });
    let backend = server.backend();
    register(&backend, "anna");
    let ask = Request::post("/v1/auth/password_reset").json(&json!({"email": "anna@example.org"}));
    backend.send(ask).must_be(200);
    let mail = mails.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(mail.contains("To: anna@example.org"), "{mail}");
    let body = json!({"token": code(&mail), "password": "new secret"});
    backend
        .send(Request::post("/v1/auth/password_reset/confirm").json(&body))
        .must_be(200);
    login(&backend, "anna", "new secret").must_be(200);
    server.stop();
}
