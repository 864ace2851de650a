//! Mode `eds`: the users of a data backend come with their own tokens (`mws.md` §5).

use std::sync::Arc;

use pilvi_base::Secret;
use pilvi_core::{AppUser, AppUsers, Asking};
use pilvi_model::{BackendId, ObjectId};
use serde_json::{Value, json};

use crate::peer::Frame;
use crate::world::{OPEN, Reply, USERS, World, next};

const ANNA: &str = "5417e5485a3d8b418a01ad01";
const BEA: &str = "5417e5485a3d8b418a01ad02";
const GROUP: &str = "5417e5485a3d8b418a01ad03";

/// Whose token is `<id>-token` is the user with that id. Anna is in a group.
pub(crate) struct Users;

impl AppUsers for Users {
    fn who<'a>(&'a self, backend: BackendId, token: &'a Secret) -> Asking<'a> {
        let id = token.expose().strip_suffix("-token");
        let id = id.filter(|id| backend.to_string() == USERS && [ANNA, BEA].contains(id));
        let user = id.map(|id| AppUser {
            id: id.parse().unwrap(),
            groups: match id {
                ANNA => vec![GROUP.parse::<ObjectId>().unwrap()],
                _ => Vec::new(),
            },
        });
        Box::pin(std::future::ready(Ok(user)))
    }
}

/// A gateway for the users of the backend, with these permissions.
async fn world(permissions: Value) -> World {
    let world = World::with_users(Arc::new(Users)).await;
    let change = json!({
        "identityProvider": {"type": "eds", "backendId": USERS},
        "permissions": permissions,
    });
    let reply = world.admin("PUT", OPEN, "/configuration", &change).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json["accessControl"], "eds");
    world
}

async fn ask(world: &World, method: &str, path: &str, bearer: &str) -> Reply {
    let headers = match bearer {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}-token\r\n"),
    };
    let body = json!({"data": "x", "receivers": {}}).to_string();
    let path = format!("/v1/gateways/{OPEN}{path}");
    world.request(method, &path, &headers, &body).await
}

#[tokio::test]
async fn a_users_socket_has_the_tags_that_webhooks_send_to() {
    let world = world(Value::Null).await;
    let reply = ask(&world, "GET", "/websocket_uri", ANNA).await;
    let tags = [
        format!("users.{ANNA}"),
        format!("usergroups.{GROUP}"),
        "aclSubject.authenticated".to_owned(),
    ];
    assert_eq!((reply.status, &reply.json["tags"]), (200, &json!(tags)));
    let own = ask(&world, "GET", "/websocket_uri", OPEN).await;
    assert_eq!((own.status, &own.json["tags"]), (200, &json!([])));

    let uri = reply.json["uri"].as_str().unwrap();
    let token = uri.rsplit('=').next().unwrap();
    let mut socket = world.connect(token).await;
    for receiver in [
        ("users", BEA),
        ("users", ANNA),
        ("usergroups", GROUP),
        ("aclSubject", "authenticated"),
    ] {
        let body = json!({
            "payload": receiver.0,
            "receivers": [{"id": receiver.1, "objectType": receiver.0}],
        });
        let sent = world.admin("POST", OPEN, "/webhook_receivers/enginio", &body);
        assert_eq!(sent.await.status, 201);
    }
    // What went to the other user did not come.
    assert_eq!(next(&mut socket).await, Some(Frame::text("users")));
    assert_eq!(next(&mut socket).await, Some(Frame::text("usergroups")));
    assert_eq!(next(&mut socket).await, Some(Frame::text("aclSubject")));
}

#[tokio::test]
async fn permissions_decide_between_users() {
    let group = format!("usergroups.{GROUP}");
    let bea = format!("users.{BEA}");
    let world = world(json!({"read": ["*"], "write": [group]})).await;
    let denied = json!({"error": {"reason": "Forbidden", "message": "Access denied"}});
    for (user, read, write) in [(ANNA, 200, 201), (BEA, 200, 403), (OPEN, 200, 201)] {
        let reply = ask(&world, "GET", "/websocket_uri", user).await;
        assert_eq!(reply.status, read, "{user}");
        let reply = ask(&world, "POST", "/messages", user).await;
        assert_eq!(reply.status, write, "{user}");
        assert!(write != 403 || reply.json == denied, "{reply:?}");
    }
    let change = json!({"permissions": {"write": [bea]}});
    world.admin("PUT", OPEN, "/configuration", &change).await;
    for (user, read, write) in [(ANNA, 403, 403), (BEA, 403, 201), (OPEN, 200, 201)] {
        let reply = ask(&world, "GET", "/websocket_uri", user).await;
        assert_eq!(reply.status, read, "{user}");
        let reply = ask(&world, "POST", "/messages", user).await;
        assert_eq!(reply.status, write, "{user}");
    }
}

#[tokio::test]
async fn everyone_means_every_user_and_not_everyone() {
    let world = world(json!({"read": ["*"], "write": ["*"]})).await;
    for (method, path) in [("GET", "/websocket_uri"), ("POST", "/messages")] {
        for (token, message) in [
            ("", "Authorization header is required"),
            ("nobody", "Access denied"),
        ] {
            let reply = ask(&world, method, path, token).await;
            let expected = json!({"error": {"reason": "AccessDenied", "message": message}});
            assert_eq!((reply.status, reply.json), (401, expected), "{path}");
        }
    }
}

#[tokio::test]
async fn no_user_is_the_owner() {
    let world = world(Value::Null).await;
    for (method, path) in [
        ("POST", "/sockets"),
        ("GET", "/sockets"),
        ("GET", "/configuration"),
        ("PUT", "/configuration"),
        ("POST", "/webhook_receivers/enginio"),
    ] {
        assert_eq!(ask(&world, method, path, ANNA).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_backend_of_another_account_has_no_say() {
    let world = world(Value::Null).await;
    world.give_backend_away().await;
    let reply = ask(&world, "GET", "/websocket_uri", ANNA).await;
    assert_eq!(reply.status, 401, "{reply:?}");
}
