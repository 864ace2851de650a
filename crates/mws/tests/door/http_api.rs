//! The REST side: who may do what, and what is said when something is wrong.

use serde_json::{Value, json};

use crate::peer::Frame;
use crate::world::{CLOSED, OPEN, World, next};

/// What a route needs (`mws.md` §3, §5).
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    /// Nothing in mode `none`, the security token otherwise.
    Mode,
    Token,
}

const ROUTES: [(&str, &str, Needs); 10] = [
    ("GET", "/websocket_uri", Needs::Mode),
    ("POST", "/messages", Needs::Mode),
    ("POST", "/sockets", Needs::Token),
    ("GET", "/sockets", Needs::Token),
    ("GET", "/sockets/x", Needs::Token),
    ("DELETE", "/sockets/x", Needs::Token),
    ("POST", "/webhook_receivers/enginio", Needs::Token),
    ("GET", "/configuration", Needs::Token),
    ("PUT", "/configuration", Needs::Token),
    ("PUT", "/configuration?", Needs::Token),
];

#[tokio::test]
async fn every_route_asks_every_kind_of_caller() {
    let world = World::new().await;
    let account = format!("Authorization: Bearer {}\r\n", world.account_token.expose());
    for (gateway, other) in [(OPEN, CLOSED), (CLOSED, OPEN)] {
        for (method, path, needs) in ROUTES {
            let open = gateway == OPEN && needs == Needs::Mode;
            let own = format!("Authorization: Bearer {gateway}-token\r\n");
            let lower = format!("Authorization: bearer {gateway}-token\r\n");
            let foreign = format!("Authorization: Bearer {other}-token\r\n");
            let required = "Authorization header is required";
            let callers = [
                ("", Some(required)),
                ("Authorization: Bearer\r\n", Some("Access denied")),
                ("Authorization: Bearer \r\n", Some("Access denied")),
                (&lower, Some("Access denied")),
                (&foreign, Some("Access denied")),
                (&own, None),
                (&account, None),
            ];
            for (headers, denial) in callers {
                for base in ["gateways", "instances"] {
                    let path = format!("/v1/{base}/{gateway}{path}");
                    let reply = world.request(method, &path, headers, "").await;
                    let context = format!("{method} {path} {headers}{reply:?}");
                    match denial.filter(|_| !open) {
                        Some(message) => {
                            let error = json!({"reason": "AccessDenied", "message": message});
                            assert_eq!(reply.status, 401, "{context}");
                            assert_eq!(reply.json, json!({"error": error}), "{context}");
                        }
                        None => assert!(![401, 403, 500].contains(&reply.status), "{context}"),
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_gateway_is_not_found_before_anything_else() {
    let world = World::new().await;
    for gateway in ["5417e5485a3d8b418a01adb8", "INVALID", "%2e", "*"] {
        for (method, path, _) in ROUTES {
            let path = format!("/v1/gateways/{gateway}{path}");
            let reply = world.request(method, &path, "", "{").await;
            assert_eq!(reply.status, 404, "{path} {reply:?}");
            assert_eq!(reply.json["error"]["reason"], "NotFound", "{path}");
        }
    }
}

#[tokio::test]
async fn bodies_that_are_no_object() {
    let world = World::new().await;
    for path in ["/messages", "/sockets", "/webhook_receivers/enginio"] {
        for body in ["{", "no", "5", "\"text\"", "[]", "null", "{\"data\":"] {
            let path = format!("/v1/gateways/{OPEN}{path}");
            let headers = format!("Authorization: Bearer {OPEN}-token\r\n");
            let reply = world.request("POST", &path, &headers, body).await;
            assert_eq!(reply.status, 422, "{path} {body} {reply:?}");
            assert_eq!(reply.json["error"]["reason"], "InvalidJson", "{body}");
        }
    }
}

#[tokio::test]
async fn an_empty_body_counts_as_an_empty_object() {
    let world = World::new().await;
    let reply = world.admin("POST", OPEN, "/sockets", &Value::Null).await;
    assert_eq!((reply.status, &reply.json["tags"]), (201, &json!([])));
    let reply = world.admin("POST", OPEN, "/messages", &Value::Null).await;
    assert_eq!(reply.status, 422);
    let expected = json!({"errors": [
        {"reason": "ValidationFailed", "property": "data", "message": "Data can't be nil"},
        {"reason": "ValidationFailed", "property": "receivers", "message": "Receivers can't be nil"},
    ]});
    assert_eq!(reply.json, expected);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let world = World::new().await;
    for (size, status) in [(1 << 20, 201), ((1 << 20) + 1, 413), (9 << 20, 413)] {
        let body = json!({"data": "x".repeat(size), "receivers": {}});
        let reply = world.admin("POST", OPEN, "/messages", &body).await;
        assert_eq!(reply.status, status, "{size} {reply:?}");
    }
}

#[tokio::test]
async fn a_webhook_of_the_data_store_reaches_the_sockets_of_its_receivers() {
    let world = World::new().await;
    let (_, mut user) = world.join(OPEN, &["users.1"]).await;
    let (_, mut other) = world.join(OPEN, &[]).await;
    let to = |subject: Value| {
        json!({
            "payload": {"object": {"title": "x"}, "meta": {"eventName": "create"}},
            "receivers": [subject],
        })
    };
    let path = "/webhook_receivers/enginio";
    let one = to(json!({"id": "1", "objectType": "users"}));
    let reply = world.admin("POST", OPEN, path, &one).await;
    let delivered = r#"{"object":{"title":"x"},"meta":{"eventName":"create"}}"#;
    let expected = json!({"data": delivered, "receivers": {"sockets": [], "tags": ["users.1"]}});
    assert_eq!((reply.status, reply.json), (201, expected));
    let all = to(json!({"id": "*", "objectType": "aclSubject"}));
    assert_eq!(world.admin("POST", OPEN, path, &all).await.status, 201);

    assert_eq!(next(&mut user).await, Some(Frame::text(delivered)));
    assert_eq!(next(&mut user).await, Some(Frame::text(delivered)));
    assert_eq!(next(&mut other).await, Some(Frame::text(delivered)));
}

#[tokio::test]
async fn additions_are_off_until_an_owner_asks_for_them() {
    let world = World::new().await;
    let change = json!({
        "compression": true,
        "events": {"url": "https://app.example.org/events"},
        "presence": {"tags": ["room.*", "lobby"]},
        "history": [{"tag": "room.*", "messages": 10}],
    });
    let reply = world.admin("PUT", OPEN, "/configuration", &change).await;
    let mut expected = change;
    expected["events"]["events"] = json!(["connect", "message", "disconnect"]);
    expected["history"][0] =
        json!({"tag": "room.*", "messages": 10, "bytes": 262_144, "seconds": 3600, "replay": 0});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(reply.json[key], *value, "{reply:?}");
    }
    for wrong in [
        json!({"compression": 1}),
        json!({"events": {"url": "app.example.org"}}),
        json!({"presence": {"tags": []}}),
        json!({"history": [{"tag": "room.*", "messages": 5000}]}),
    ] {
        let reply = world.admin("PUT", OPEN, "/configuration", &wrong).await;
        assert_eq!(reply.status, 422, "{wrong}");
        let named = wrong.as_object().unwrap().keys().next().unwrap();
        let fault = &reply.json["errors"][0];
        assert_eq!(fault["property"], **named);
        assert!(!fault["message"].as_str().unwrap().is_empty(), "{fault}");
    }
    let shown = world
        .admin("GET", OPEN, "/configuration", &Value::Null)
        .await;
    assert_eq!(
        shown.json["history"], expected["history"],
        "a wrong change changes nothing"
    );
    let off = json!({"compression": null, "events": null, "presence": null, "history": null});
    let reply = world.admin("PUT", OPEN, "/configuration", &off).await;
    assert_eq!(reply.json["compression"], false);
    assert_eq!(reply.json["events"], Value::Null);
}

#[tokio::test]
async fn an_owner_closes_and_opens_a_gateway() {
    let world = World::new().await;
    let path = format!("/v1/gateways/{OPEN}/websocket_uri");
    assert_eq!(world.request("GET", &path, "", "").await.status, 200);

    let change = json!({"name": "mine", "accessControl": "custom"});
    let reply = world.admin("PUT", OPEN, "/configuration", &change).await;
    let expected = json!({
        "name": "mine",
        "accessControl": "custom",
        "identityProvider": null,
        "permissions": null,
        "compression": false,
        "events": null,
        "presence": null,
        "history": null,
    });
    assert_eq!((reply.status, &reply.json), (200, &expected));
    let shown = world
        .admin("GET", OPEN, "/configuration", &Value::Null)
        .await;
    assert_eq!(shown.json, expected);
    assert_eq!(world.request("GET", &path, "", "").await.status, 401);

    let eds = json!({"identityProvider": {"type": "ldap", "backendId": CLOSED}});
    let reply = world.admin("PUT", OPEN, "/configuration", &eds).await;
    assert_eq!(reply.status, 422);
    assert_eq!(reply.json["errors"][0]["property"], "identityProvider");

    let change = json!({"accessControl": "none"});
    world.admin("PUT", OPEN, "/configuration", &change).await;
    assert_eq!(world.request("GET", &path, "", "").await.status, 200);
}

#[tokio::test]
async fn browsers_of_any_site_may_ask() {
    let world = World::new().await;
    let path = format!("/v1/gateways/{CLOSED}/websocket_uri");
    let origin = "Origin: https://example.org\r\n";
    let refused = world.request("GET", &path, origin, "").await;
    assert_eq!(refused.status, 401);
    for line in [
        "Access-Control-Allow-Origin: https://example.org",
        "Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS",
        "Content-Type: application/json",
    ] {
        assert!(refused.head.contains(line), "{line} in {}", refused.head);
    }
    let plain = world.request("GET", &path, "", "").await;
    assert!(!plain.head.contains("Access-Control"), "{}", plain.head);
}

#[tokio::test]
async fn paths_and_methods_that_are_none_say_so() {
    let world = World::new().await;
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/messages", 405),
        ("DELETE", "/websocket_uri", 405),
        ("GET", "/sockets/a/b", 404),
    ] {
        let reply = world.admin(method, OPEN, path, &Value::Null).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.json["error"]["message"].is_string(), "{reply:?}");
    }
}
