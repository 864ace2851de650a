//! Requests of the unmodified command line `qtc-cli` 0.5.0, as they arrived on the wire, and what it reads of the
//! answers. `c1` stands for an account, `mar-eu-1-abcd1234` for an instance.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::{Answer, World};

async fn replay(world: &World, line: &str, body: &str) -> Answer {
    let (method, target) = line.split_once(' ').unwrap();
    let target = target.replace("c1", &world.account.to_string());
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("Accept", "application/json")
        .header("Content-Type", "application/json")
        .header("Authorization", format!("Bearer {}", world.token))
        .header(
            "User-Agent",
            "HTTPClient/1.0 (2.8.3, ruby 3.1.7 (2025-03-26))",
        )
        .body(Body::from(body.to_owned()));
    world.send(request.unwrap()).await
}

#[tokio::test]
async fn signing_in_and_choosing_a_cloud() {
    let world = World::new().await;
    for line in ["GET /v1/user/accounts?", "GET /v1/user/accounts"] {
        let answer = replay(&world, line, "").await.expect(200);
        assert_eq!(answer["results"][0]["id"], world.account.to_string());
        assert_eq!(answer["results"][0]["name"], "My Cloud");
    }
    let answer = replay(&world, "GET /v1/accounts/c1", "").await.expect(200);
    assert_eq!(
        (&answer["name"], &answer["datacenter"]["id"]),
        (&json!("My Cloud"), &json!("eu-1"))
    );

    let answer = replay(&world, "GET /v1/datacenters", "").await.expect(200);
    assert_eq!(
        answer,
        json!({"results": [{"id": "eu-1", "description": "This server", "services": [
            {"id": "eds", "url": "http://localhost:8080"},
            {"id": "mws", "url": "http://localhost:8080"},
            {"id": "mar", "url": "http://localhost:8080"},
        ]}]})
    );
    let body = r#"{"name":"my new cloud","datacenter":"eu-1","vpc":true}"#;
    let answer = replay(&world, "POST /v1/accounts?", body).await.expect(201);
    assert_eq!(
        (&answer["name"], &answer["vpc"]),
        (&json!("my new cloud"), &json!(true))
    );
    let body = r#"{"name":"my new cloud","datacenter":"eu-1","vpc":null}"#;
    assert_eq!(
        replay(&world, "POST /v1/accounts?", body).await.expect(201)["vpc"],
        false
    );
}

#[tokio::test]
async fn a_wrong_token_is_answered_with_401() {
    let world = World::new().await;
    // The tool goes on with an empty token after an error; the blank at the end is cut off on the wire.
    for header in ["Bearer X", "Bearer ", "Bearer", "", "Basic eDp5"] {
        let request = Request::builder()
            .uri("/v1/user/accounts?")
            .header("Authorization", header);
        let answer = world
            .send(request.body(Body::empty()).unwrap())
            .await
            .expect(401);
        assert_eq!(answer["error"]["reason"], "AccessDenied", "{header}");
    }
    let header = http::HeaderValue::from_bytes(b"Bearer \xff\xfe").unwrap();
    let request = Request::builder()
        .uri("/v1/user/accounts?")
        .header("Authorization", header);
    world
        .send(request.body(Body::empty()).unwrap())
        .await
        .expect(401);
}

#[tokio::test]
async fn the_account_token_that_is_asked_for_before_every_call() {
    let world = World::new().await;
    let answer = replay(&world, "GET /v1/accounts/c1/authorizations", "")
        .await
        .expect(200);
    assert!(answer["results"][0]["access_token"].is_string());
}

#[tokio::test]
async fn lists_of_instances_by_provider() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    let answer = replay(&world, "GET /v1/accounts/c1/instances?provider=eds", "")
        .await
        .expect(200);
    let first = &answer["results"][0];
    assert_eq!(
        (&first["id"], &first["name"], &first["tags"]),
        (&json!(id), &json!("todos"), &json!([]))
    );
    for provider in ["mar", "mdb"] {
        let line = format!("GET /v1/accounts/c1/instances?provider={provider}");
        assert_eq!(
            replay(&world, &line, "").await.expect(200),
            json!({"results": []})
        );
    }
    // `mar list` would like to use the account token, and an account token may do that.
    let own = world
        .get(&world.account_path("/authorizations"))
        .await
        .first_token();
    let path = world.account_path("/instances?provider=eds");
    assert_eq!(
        world
            .call_as(&own, "GET", &path, Value::Null)
            .await
            .expect(200),
        answer
    );
}

#[tokio::test]
async fn an_app_is_called_as_its_service_says_and_shows_where_to_push() {
    let world = World::new().await;
    let body = r#"{"name":"my app","serviceProviderId":"mar","config":{"runtimeSize":2,"runtimeType":"app"}}"#;
    let created = replay(&world, "POST /v1/accounts/c1/instances?", body)
        .await
        .expect(201);
    let id = "mar-eu-1-00000000";
    let config = json!({"MAR_GIT_ADDRESS": format!("git@git-mar-eu-1.localhost:{id}")});
    assert_eq!((&created["id"], &created["config"]), (&json!(id), &config));
    let line = format!("GET /v1/instances/{id}");
    assert_eq!(replay(&world, &line, "").await.expect(200), created);
    let listed = replay(&world, "GET /v1/accounts/c1/instances?provider=mar", "")
        .await
        .expect(200);
    assert_eq!(listed, json!({"results": [created]}));
    // What is shown is not what is stored: a change of the name does not write it down.
    let line = format!("PUT /v1/instances/{id}");
    let changed = replay(&world, &line, r#"{"name":"echo","tags":[]}"#)
        .await
        .expect(200);
    assert_eq!(
        (&changed["name"], &changed["config"]),
        (&json!("echo"), &config)
    );
    let stored = world.store.find_instance(id).await.unwrap().unwrap();
    assert!(stored.config.is_empty());
}

#[tokio::test]
async fn databases_are_refused_until_they_exist() {
    let world = World::new().await;
    let body = r#"{"name":"db1","serviceProviderId":"mdb","config":{"runtimeSize":1,"serviceImage":"qtcs/mysql:5.6"}}"#;
    let answer = replay(&world, "POST /v1/accounts/c1/instances?", body)
        .await
        .expect(422);
    assert_eq!(answer["errors"][0]["property"], "serviceProviderId");
    for line in [
        "GET /v1/instances/mar-eu-1-abcd1234",
        "GET /v1/instances/mdb-eu-1-abcd1234",
    ] {
        replay(&world, line, "").await.expect(404);
    }
}
