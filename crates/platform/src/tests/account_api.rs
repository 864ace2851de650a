//! The account interface of the original, as its test tooling drives it.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::people::{PASSWORD, open_world};
use super::{Answer, World};

const EMAIL: &str = "anna@example.org";
const TOKEN: &str = "/v1/account/auth/oauth2/token";
const APPS: &str = "/v1/account/apps";

impl World {
    async fn post_text(&self, path: &str, body: &str, content_type: &str) -> Answer {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header("content-type", content_type);
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    /// Somebody with a password and an account of their own.
    async fn with_anna() -> Self {
        let world = open_world().await;
        let person = world.join(EMAIL).await;
        let draft = crate::AccountDraft {
            name: "Anna's".to_owned(),
            ..Default::default()
        };
        world
            .platform
            .create_account(person.id, draft)
            .await
            .unwrap();
        world
    }

    async fn log_in(&self) -> String {
        let body = json!({"grant_type": "password", "username": EMAIL, "password": PASSWORD});
        let granted = self.ask("POST", TOKEN, body).await.expect(200);
        granted["access_token"].as_str().unwrap().to_owned()
    }
}

fn errors(body: &Value) -> &Value {
    let error = &body["errors"][0];
    assert!(
        error["message"].is_string() && error["reason"].is_string(),
        "{body}"
    );
    error
}

#[tokio::test]
async fn whoever_signs_in_makes_an_app_and_gets_what_opens_it() {
    let world = World::with_anna().await;
    let form = format!(
        "grant_type=password&username={EMAIL}&password={}",
        PASSWORD.replace(' ', "+")
    );
    let granted = world
        .post_text(TOKEN, &form, "application/x-www-form-urlencoded")
        .await;
    let granted = granted.expect(200);
    assert_eq!(
        (&granted["token_type"], &granted["expires_in"]),
        (&json!("bearer"), &json!(28_799))
    );
    let token = granted["access_token"].as_str().unwrap();

    let name = json!({"name": "EnginioClient1700000000000"});
    let app = world.call_as(token, "POST", APPS, name).await.expect(201);
    let id = app["id"].as_str().unwrap().to_owned();
    assert_eq!(app["name"], "EnginioClient1700000000000");
    let environment = &app["environments"][0];
    assert_eq!(environment["name"], "development");
    assert_eq!(environment["appId"], id.as_str());
    assert_eq!(environment["id"].as_str().unwrap().len(), 24);
    assert_eq!(environment["apiKeys"][0]["key"].as_str().unwrap().len(), 40);
    let key = environment["masterKeys"][0]["key"].as_str().unwrap();
    assert!(key.starts_with("pilvi_ins_"), "{key}");

    let path = format!("{APPS}/{id}");
    let again = world
        .call_as(token, "GET", &path, Value::Null)
        .await
        .expect(200);
    assert_eq!(again, app);
    let list = world
        .call_as(token, "GET", APPS, Value::Null)
        .await
        .expect(200);
    let all = list["results"].as_array().unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0]["id"], &all[0]["name"]), (&app["id"], &app["name"]));
    assert!(
        !list.to_string().contains("pilvi_ins_"),
        "a list shows no keys"
    );

    let gone = world
        .call_as(token, "DELETE", &path, Value::Null)
        .await
        .expect(200);
    assert_eq!(gone, json!({}));
    let missing = world
        .call_as(token, "GET", &path, Value::Null)
        .await
        .expect(404);
    assert_eq!(errors(&missing)["reason"], "NotFound");
    assert!(!world.eds.holds(&id), "it is gone at once");
}

#[tokio::test]
async fn parameters_may_be_anywhere_and_left_over_headers_do_not_matter() {
    let world = World::with_anna().await;
    let query =
        format!("{TOKEN}?grant_type=password&username={EMAIL}&password=correct%20horse%20battery");
    let token = world.post_text(&query, "", "text/plain").await.expect(200);
    let token = token["access_token"].as_str().unwrap();
    let request = Request::builder()
        .uri(APPS)
        .header("authorization", format!("BEARER {token}"))
        .header("enginio-backend-id", "51cdbc08989e975ec300772a")
        .header("enginio-backend-masterkey", "of another app")
        .body(Body::empty());
    world.send(request.unwrap()).await.expect(200);
}

#[tokio::test]
async fn the_older_login_gives_a_session_that_its_own_header_carries() {
    let world = World::with_anna().await;
    let identity = "/v1/account/auth/identity";
    let body = json!({"email": EMAIL, "password": PASSWORD});
    let session = world.ask("POST", identity, body).await.expect(200);
    let token = session["sessionToken"].as_str().unwrap();
    let request = Request::builder()
        .uri(APPS)
        .header("enginio-backend-session", token)
        .body(Body::empty());
    world.send(request.unwrap()).await.expect(200);
    let wrong = json!({"email": EMAIL, "password": "no"});
    let refused = world.ask("POST", identity, wrong).await.expect(401);
    assert_eq!(errors(&refused)["reason"], "Unauthorized");
}

#[tokio::test]
async fn a_failed_login_says_so_in_both_shapes_and_is_slowed_down() {
    let world = World::with_anna().await;
    let grant =
        |password: &str| json!({"grant_type": "password", "username": EMAIL, "password": password});
    let refused = world.ask("POST", TOKEN, grant("wrong")).await.expect(400);
    assert_eq!(refused["error"], "invalid_grant");
    assert_eq!(errors(&refused)["reason"], "InvalidCredentials");
    for (body, error) in [
        (
            json!({"username": EMAIL, "password": PASSWORD}),
            "invalid_request",
        ),
        (json!({"grant_type": "implicit"}), "unsupported_grant_type"),
        (json!({"grant_type": "password"}), "invalid_grant"),
    ] {
        let refused = world.ask("POST", TOKEN, body).await.expect(400);
        assert_eq!(refused["error"], error);
    }
    let mut refused = Value::Null;
    for _ in 0..100 {
        let answer = world.ask("POST", TOKEN, grant("wrong")).await;
        if answer.status == 429 {
            assert!(answer.headers.contains_key("retry-after"));
            refused = answer.body;
            break;
        }
        answer.expect(400);
    }
    errors(&refused);
    let right = world.ask("POST", TOKEN, grant(PASSWORD)).await;
    assert_eq!(right.status, 429, "the right password is not heard either");
}

#[tokio::test]
async fn a_login_opens_this_interface_alone_and_ends() {
    let world = World::with_anna().await;
    let token = world.log_in().await;
    world
        .call_as(&token, "GET", APPS, Value::Null)
        .await
        .expect(200);
    world
        .call_as(&token, "GET", "/v1/user", Value::Null)
        .await
        .expect(401);
    // A personal access token opens both.
    world.call("GET", APPS, Value::Null).await.expect(200);

    let other = world.log_in().await;
    let revoke = format!("/v1/account/auth/oauth2/revoke?token={other}");
    world.ask("POST", &revoke, Value::Null).await.expect(200);
    world
        .call_as(&other, "GET", APPS, Value::Null)
        .await
        .expect(401);
    world
        .call_as(&token, "GET", APPS, Value::Null)
        .await
        .expect(200);
    world.clock.advance(Duration::from_secs(28_800));
    world
        .call_as(&token, "GET", APPS, Value::Null)
        .await
        .expect(401);
}

#[tokio::test]
async fn a_new_password_ends_the_logins_of_the_old_one() {
    let world = World::with_anna().await;
    let token = world.log_in().await;
    let person = world
        .store
        .find_person_by_email(EMAIL.into())
        .await
        .unwrap()
        .unwrap();
    let current = pilvi_base::Secret::new(PASSWORD);
    let new = pilvi_base::Secret::new("another horse and battery");
    let peer = std::net::IpAddr::from([192, 0, 2, 1]);
    let changed = world
        .platform
        .change_password(&person, Some(&current), &new, None, peer);
    changed.await.unwrap();
    world
        .call_as(&token, "GET", APPS, Value::Null)
        .await
        .expect(401);
}

#[tokio::test]
async fn nobody_sees_the_apps_of_others_or_what_is_no_app() {
    let world = World::with_anna().await;
    let token = world.log_in().await;
    let foreign = world.add_instance("eds").await.id;
    let gateway = world.add_instance("mws").await.id;
    let list = world
        .call_as(&token, "GET", APPS, Value::Null)
        .await
        .expect(200);
    assert_eq!(list["results"], json!([]));
    for id in [foreign.as_str(), &gateway, "x"] {
        for method in ["GET", "DELETE"] {
            let path = format!("{APPS}/{id}");
            world
                .call_as(&token, method, &path, Value::Null)
                .await
                .expect(404);
        }
    }
    let path = format!("{APPS}/{gateway}");
    world.call("GET", &path, Value::Null).await.expect(404);
    let nameless = world
        .call_as(&token, "POST", APPS, json!({}))
        .await
        .expect(400);
    assert_eq!(errors(&nameless)["property"], "name");
}

#[tokio::test]
async fn only_an_operator_chooses_the_id_of_a_backend() {
    let world = World::with_anna().await;
    let chosen = "51cdbc08989e975ec300772a";
    let path = world.account_path("/instances");
    let body = |id: &str, provider: &str| json!({"name": "fixture", "serviceProviderId": provider, "id": id});
    let made = world
        .call("POST", &path, body(chosen, "eds"))
        .await
        .expect(201);
    assert_eq!(made["id"], chosen);
    let taken = world
        .call("POST", &path, body(chosen, "eds"))
        .await
        .expect(409);
    assert!(taken.to_string().contains("taken"), "{taken}");
    // Also by one that can be restored.
    let instance = format!("/v1/instances/{chosen}");
    world
        .call("DELETE", &instance, Value::Null)
        .await
        .expect(200);
    world
        .call("POST", &path, body(chosen, "eds"))
        .await
        .expect(409);
    for (id, provider) in [
        ("51CDBC08989E975EC300772A", "eds"),
        ("x", "eds"),
        ("51cdbc08989e975ec300772b", "mws"),
    ] {
        let refused = world
            .call("POST", &path, body(id, provider))
            .await
            .expect(422);
        assert_eq!(refused["errors"][0]["property"], "id");
    }
    let neighbour = world.add_neighbour().await;
    let path = format!("/v1/accounts/{}/instances", neighbour.account);
    let body = body("51cdbc08989e975ec300772c", "eds");
    world
        .call_as(&neighbour.token, "POST", &path, body)
        .await
        .expect(403);
}
