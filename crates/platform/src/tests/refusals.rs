//! Requests that are not carried out, and bounds.

use axum::body::Body;
use http::Request;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::{World, error};
use crate::Limits;

/// The properties that a 422 complains about.
async fn complaints(world: &World, method: &str, path: &str, body: Value) -> Vec<String> {
    let answer = world.call(method, path, body).await.expect(422);
    let errors = answer["errors"].as_array().expect("a 422 lists errors");
    errors
        .iter()
        .map(|error| {
            let property = error["property"].as_str().unwrap();
            assert_eq!(error["reason"], "ValidationFailed");
            assert!(
                error["message"].as_str().unwrap().starts_with(property),
                "{error}"
            );
            property.to_owned()
        })
        .collect()
}

#[tokio::test]
async fn an_account_that_breaks_rules_is_refused_with_all_of_them() {
    let world = World::new().await;
    for (body, properties) in [
        (json!({}), vec!["name"]),
        (Value::Null, vec!["name"]),
        (json!({"name": ""}), vec!["name"]),
        (json!({"name": " \t"}), vec!["name"]),
        (json!({"name": null}), vec!["name"]),
        (json!({"name": "a\u{0}b"}), vec!["name"]),
        (json!({"name": "x".repeat(101)}), vec!["name"]),
        (
            json!({"name": "", "datacenter": "us-1"}),
            vec!["name", "datacenter"],
        ),
        (
            json!({"name": 5, "datacenter": {}, "vpc": "yes"}),
            vec!["name", "datacenter", "vpc"],
        ),
    ] {
        let found = complaints(&world, "POST", "/v1/accounts", body.clone()).await;
        assert_eq!(found, properties, "{body}");
    }
    assert_eq!(
        world.get("/v1/user/accounts").await.body["results"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn an_instance_that_breaks_rules_is_refused_with_all_of_them() {
    let world = World::new().await;
    let eds = |more: Value| {
        let mut body = json!({"name": "n", "serviceProviderId": "eds"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    for (body, properties) in [
        (json!({}), vec!["name", "serviceProviderId"]),
        (eds(json!({"name": ""})), vec!["name"]),
        (eds(json!({"datacenterId": "us-1"})), vec!["datacenterId"]),
        (
            eds(json!({"datacenterId": "us-1", "name": "", "config": {"x": 1}})),
            vec!["name", "datacenterId", "config.x"],
        ),
        (
            eds(json!({"serviceProviderId": "qtc"})),
            vec!["serviceProviderId"],
        ),
        (
            eds(json!({"serviceProviderId": "eds "})),
            vec!["serviceProviderId"],
        ),
        (eds(json!({"tags": "x"})), vec!["tags"]),
        (eds(json!({"tags": [1]})), vec!["tags"]),
        (eds(json!({"tags": [""]})), vec!["tags"]),
        (eds(json!({"tags": vec!["t"; 51]})), vec!["tags"]),
        (eds(json!({"config": []})), vec!["config"]),
        (
            eds(json!({"config": {"accessControl": {"type": "custom"}}})),
            vec!["config.accessControl"],
        ),
    ] {
        let found = complaints(
            &world,
            "POST",
            &world.account_path("/instances"),
            body.clone(),
        )
        .await;
        assert_eq!(found, properties, "{body}");
    }
    assert_eq!(world.eds.len(), 0);
}

#[tokio::test]
async fn providers_that_are_not_here_are_named_in_the_refusal() {
    let world = World::new().await;
    const DATABASE: &str = "serviceProviderId asks for a managed database, which this server does not offer yet; it \
                            offers eds, mws, mar";
    for (body, message) in [
        // What old clients send for a database: the command line, and the npm package.
        (
            json!({
                "name": "db1",
                "serviceProviderId": "mdb",
                "config": {"runtimeSize": 1, "serviceImage": "qtcs/mysql:5.6"},
            }),
            DATABASE,
        ),
        (
            json!({"name": "db1", "serviceProviderId": "MDB", "datacenterId": "eu-1"}),
            DATABASE,
        ),
        (
            json!({
                "name": "db1",
                "serviceProviderId": "mar",
                "config": {"runtimeType": "service_container", "runtimeSize": "1", "serviceImage": "qtcs/redis:2.8"},
                "datacenterId": "eu-1",
            }),
            DATABASE,
        ),
        (
            json!({"name": "x", "serviceProviderId": "mail"}),
            "serviceProviderId is not offered by this server, which offers eds, mws, mar",
        ),
    ] {
        let answer = world
            .call("POST", &world.account_path("/instances"), body)
            .await
            .expect(422);
        assert_eq!(
            answer,
            json!({"errors": [{
                "reason": "ValidationFailed",
                "property": "serviceProviderId",
                "message": message,
            }]})
        );
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_a_bad_request() {
    let world = World::new().await;
    for body in ["{", "{\"name\":}", "[1]", "\"x\"", "7"] {
        let request = Request::builder()
            .method("POST")
            .uri("/v1/accounts")
            .header(AUTHORIZATION, format!("Bearer {}", world.token))
            .body(Body::from(body))
            .unwrap();
        let answer = world.send(request).await.expect(400);
        assert_eq!(answer["error"]["reason"], "BadRequest", "{body}");
    }
    let large = json!({"name": "x".repeat(70_000)});
    let answer = world.call("POST", "/v1/accounts", large).await.expect(413);
    assert_eq!(answer["error"]["reason"], "TooLarge");
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_refused_in_shape() {
    let world = World::new().await;
    let answer = world.get("/v1/nothing").await.expect(404);
    assert_eq!(answer, error("NotFound", "there is nothing at this path"));
    let answer = world
        .call("PATCH", "/v1/user", Value::Null)
        .await
        .expect(405);
    assert_eq!(answer["error"]["reason"], "MethodNotAllowed");
    for path in [
        "/v1/authorizations/x",
        "/v1/authorizations/99999999999999999999",
        "/v1/authorizations/-1",
    ] {
        let answer = world.call("DELETE", path, Value::Null).await.expect(404);
        assert_eq!(answer, error("NotFound", "there is no such token"));
    }
    world.get("/v1/accounts/%ff").await.expect(400);
}

#[tokio::test]
async fn nobody_gets_more_than_the_bounds_allow() {
    let world = World::with_limits(Limits {
        accounts_per_person: 2,
        instances_per_account: 1,
        tokens_per_holder: 2,
        ssh_keys_per_person: 2,
        ..Limits::default()
    })
    .await;
    let instance = world.add_instance("eds").await.id;
    let instances = world.account_path("/instances");
    let tokens = format!("/v1/instances/{instance}/authorizations");
    let body = json!({"name": "n", "serviceProviderId": "eds"});
    world
        .call("POST", "/v1/accounts", body.clone())
        .await
        .expect(201);
    world
        .call("POST", "/v1/authorizations", Value::Null)
        .await
        .expect(201);
    world.call("POST", &tokens, Value::Null).await.expect(201);
    for path in ["/v1/accounts", "/v1/authorizations", &tokens, &instances] {
        let answer = world.call("POST", path, body.clone()).await.expect(429);
        assert_eq!(answer["error"]["reason"], "TooManyRequests", "{path}");
    }
    assert_eq!(world.eds.len(), 1);
}
