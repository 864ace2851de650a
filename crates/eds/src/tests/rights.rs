//! Every call of the table × everybody who can ask, in a private backend: whom it is for, and whom it is not for.

use pilvi_model::Permission;
use serde_json::{Value, json};

use super::{Answer, Credential, World, everyone, path_of, reference};
use crate::routes::{ROUTES, Route, Verb, Who};

/// Everybody who can ask.
struct Cast {
    stranger: Credential,
    owner: Credential,
    member: Credential,
    member_user: Value,
    /// A user that nothing else is about.
    bystander: Value,
    group: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Nobody,
    /// Signed in to another backend.
    Foreigner,
    /// Holds the security token of another backend.
    ForeignAdmin,
    Stranger,
    /// Of a group that administers the object.
    Member,
    /// Created the object.
    Owner,
    SecurityToken,
    MasterKey,
}

use Role::{ForeignAdmin, Foreigner, MasterKey, Member, Nobody, Owner, SecurityToken, Stranger};

const ROLES: [Role; 8] = [
    Nobody,
    Foreigner,
    ForeignAdmin,
    Stranger,
    Member,
    Owner,
    SecurityToken,
    MasterKey,
];

async fn cast(world: &World) -> Cast {
    let (_, stranger) = world.sign_up("stranger").await;
    let (_, owner) = world.sign_up("owner").await;
    let (member_user, member) = world.sign_up("member").await;
    let (bystander, _) = world.sign_up("bystander").await;
    let group = world
        .post(&world.admin(), "/v1/usergroups", json!({"name": "editors"}))
        .await;
    let members = format!("{}/members", path_of(&group));
    world
        .post(&world.admin(), &members, reference(&member_user))
        .await;
    Cast {
        stranger,
        owner,
        member,
        member_user,
        bystander,
        group,
    }
}

/// What one call is about: made anew for each, because calls change and delete.
struct Stage {
    path: String,
    /// Who created it.
    owner: Credential,
}

/// `readable`: everybody may read the object.
async fn stage(world: &World, cast: &Cast, route: &Route, number: usize, readable: bool) -> Stage {
    let admin = world.admin();
    let mut owner = cast.owner.clone();
    let path = if route.path.starts_with("/v1/webhooks/{id}") {
        // A backend has few of them.
        let hooks = world
            .send(&admin, "GET", "/v1/webhooks", &Value::Null)
            .await
            .must_be(200);
        for hook in hooks["results"].as_array().unwrap() {
            let path = format!("/v1/webhooks/{}", hook["id"].as_str().unwrap());
            world
                .send(&admin, "DELETE", &path, &Value::Null)
                .await
                .must_be(200);
        }
        let hook = json!({"url": "http://127.0.0.1:1/", "objectTypes": ["objects.none"]});
        let hook = world.post(&admin, "/v1/webhooks", hook).await;
        let id = hook["id"].as_str().unwrap();
        let mut delivery = json!("none");
        if route.path.contains("{delivery}") {
            world.post(&admin, "/v1/objects/none", json!({})).await;
            let path = format!("/v1/webhooks/{id}/deliveries");
            let log = world.send(&admin, "GET", &path, &Value::Null).await;
            delivery = log.must_be(200)["results"][0]["id"].clone();
        }
        let path = route.path.replace("{id}", id);
        path.replace("{delivery}", delivery.as_str().unwrap())
    } else if route.path.starts_with("/v1/imports/{id}") {
        let bytes = if route.takes == "Bytes" { 8 } else { 4 };
        let import = world
            .post(&admin, "/v1/imports", json!({"bytes": bytes}))
            .await;
        let path = format!("/v1/imports/{}", import["id"].as_str().unwrap());
        if bytes == 4 {
            // No archive at all, so that nothing comes of it.
            let range = [("content-range", "0-4/4")];
            let junk = axum::body::Body::from("junk");
            world
                .send_body(&admin, "PUT", &format!("{path}/chunk"), junk, &range)
                .await
                .must_be(200);
        }
        route.path.replace("/v1/imports/{id}", &path)
    } else if route.path.starts_with("/v1/object_types/{id}") {
        world
            .send(
                &admin,
                "POST",
                "/v1/object_types",
                &json!({"name": "typed"}),
            )
            .await;
        route.path.replace("{id}", "typed")
    } else if route.path.starts_with("/v1/indexes/{id}") {
        let index =
            json!({"objectType": "objects.notes", "property": format!("p{number}{readable}")});
        let index = world.post(&admin, "/v1/indexes", index).await;
        route.path.replace("{id}", index["id"].as_str().unwrap())
    } else if route.path.starts_with("/v1/files/{id}") {
        // A file is for whom its object is for.
        let note = world
            .post(&owner, "/v1/objects/notes", json!({"n": 1}))
            .await;
        let mut list = json!({"admin": [reference(&cast.group)]});
        if readable {
            list["read"] = everyone();
        }
        let access = format!("{}/access", path_of(&note));
        world.send(&admin, "PUT", &access, &list).await.must_be(200);
        let file = match route.takes {
            "Bytes" => world.announce(&owner, &note, "file").await,
            _ => world.upload(&owner, &note, "file", b"bytes").await,
        };
        route.path.replace("{id}", file["id"].as_str().unwrap())
    } else if route.path.contains("{id}") {
        let object = if route.path.starts_with("/v1/users/") {
            let (user, credential) = world.sign_up(&format!("user {number} {readable}")).await;
            owner = credential;
            user
        } else {
            let collection = if route.path.starts_with("/v1/objects") {
                "objects/notes"
            } else {
                "usergroups"
            };
            world
                .post(
                    &owner,
                    &format!("/v1/{collection}"),
                    json!({"name": "x", "n": 1}),
                )
                .await
        };
        let mut list = json!({"admin": [reference(&cast.group)]});
        if readable {
            list["read"] = everyone();
        }
        let access = format!("{}/access", path_of(&object));
        world.send(&admin, "PUT", &access, &list).await.must_be(200);
        if route.path.ends_with("/members") && route.verb == Verb::Delete {
            let members = format!("{}/members", path_of(&object));
            world
                .post(&admin, &members, reference(&cast.bystander))
                .await;
        }
        let id = object["id"].as_str().unwrap();
        route.path.replace("{type}", "notes").replace("{id}", id)
    } else if route.path == "/v1/search" {
        format!(
            "{}?objectTypes=objects.notes&search=%7B%22phrase%22:%22x%22%7D",
            route.path
        )
    } else {
        route.path.replace("{type}", "notes")
    };
    // What is followed is not part of the path.
    let path = match route.path.starts_with("/v1/live") {
        true => format!("{path}?objectType=objects.notes"),
        false => path,
    };
    Stage { path, owner }
}

/// A body that the call takes.
fn body(cast: &Cast, route: &Route, number: usize) -> Value {
    match route.takes {
        "" => Value::Null,
        "NewUser" => json!({"username": format!("new {number}"), "password": "secret"}),
        "Properties" | "UserChange" => json!({"n": 2}),
        "Atomic" => json!({"$inc": {"n": 1}}),
        "AccessChange" => {
            json!({"admin": [reference(&cast.group)], "read": [reference(&cast.member_user)]})
        }
        "NewImport" => json!({"bytes": 7}),
        "ImportStart" => json!({"replace": true}),
        "Reference" => reference(&cast.bystander),
        "Batch" => {
            json!({"operations": [{"method": "POST", "path": "/v1/objects/notes", "body": {}}]})
        }
        "NewFile" => json!({"file": {"fileName": "test.png"}}),
        "NewIndex" => json!({"objectType": "objects.notes", "property": "n"}),
        "Schemas" => json!({"objects": [{"object": {"name": "objects.typed"}}]}),
        "NewObjectType" | "ObjectTypeChange" => json!({"name": "typed", "properties": []}),
        "NewWebhook" | "WebhookChange" => {
            json!({"url": "http://127.0.0.1:1/", "objectTypes": ["objects.none"]})
        }
        // What brings its own credentials; here it brings none.
        _ => json!({}),
    }
}

fn verb(route: &Route) -> &'static str {
    match route.verb {
        Verb::Get => "GET",
        Verb::Post => "POST",
        Verb::Put => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
    }
}

/// The status with which a call must be refused; `None`: it is for this role.
fn refusal(route: &Route, role: Role, readable: bool) -> Option<u16> {
    let signed_in = !matches!(role, Nobody);
    match (route.who, role) {
        (Who::Anyone, _) => None,
        // What is carried must be valid here.
        (_, Foreigner | ForeignAdmin) => Some(401),
        // Nobody is behind an administrator's token.
        (Who::User, Nobody | SecurityToken | MasterKey) => Some(401),
        (Who::Valid, _) | (_, SecurityToken | MasterKey) => None,
        (Who::User, _) => None,
        (Who::Create, _) if route.path == "/v1/users" => None,
        (Who::List | Who::Create | Who::Each, _) => (!signed_in).then_some(401),
        (Who::Admin, Nobody) => Some(401),
        (Who::Admin, _) => Some(403),
        (Who::Object(_) | Who::Members(_), Member | Owner) => None,
        (Who::Object(Permission::Read), _) if readable => None,
        (Who::Object(_) | Who::Members(_), Nobody) if readable => Some(401),
        (Who::Object(_) | Who::Members(_), _) if readable => Some(403),
        (Who::Object(_) | Who::Members(_), _) => Some(404),
    }
}

async fn call(
    world: &World,
    cast: &Cast,
    foreigner: &Credential,
    route: &Route,
    role: Role,
    turn: (usize, bool),
) -> Answer {
    let (number, readable) = turn;
    let stage = stage(world, cast, route, number, readable).await;
    let who = match role {
        Nobody => Credential::Nothing,
        Foreigner => foreigner.clone(),
        ForeignAdmin => Credential::Bearer(world.foreign_token.clone()),
        Stranger => cast.stranger.clone(),
        Member => cast.member.clone(),
        Owner => stage.owner.clone(),
        SecurityToken => world.admin(),
        MasterKey => Credential::MasterKey(world.token.clone()),
    };
    if route.takes == "Bytes" {
        let range = [("content-range", "0-4/8")];
        let piece = axum::body::Body::from("byte");
        return world
            .send_body(&who, verb(route), &stage.path, piece, &range)
            .await;
    }
    world
        .send(&who, verb(route), &stage.path, &body(cast, route, number))
        .await
}

#[tokio::test]
async fn every_call_is_for_whom_the_table_says() {
    let world = World::new("private").await;
    let cast = cast(&world).await;
    let (_, foreigner) = world.sign_up_at(&world.foreign, "foreigner").await;
    let mut number = 0;
    for route in ROUTES {
        for role in ROLES {
            for readable in [false, true] {
                number += 1;
                let answer = call(&world, &cast, &foreigner, route, role, (number, readable)).await;
                let status = answer.status.as_u16();
                let what = format!(
                    "{} {} by {role:?}, readable {readable}",
                    verb(route),
                    route.path
                );
                match refusal(route, role, readable) {
                    Some(expected) => assert_eq!(status, expected, "{what}: {}", answer.body),
                    None if route.who == Who::Anyone => {
                        assert!(status < 500 && status != 405, "{what}: {status}")
                    }
                    None => assert!(
                        (200..300).contains(&status),
                        "{what}: {status} {}",
                        answer.body
                    ),
                }
            }
        }
    }
}

#[tokio::test]
async fn an_object_of_another_backend_does_not_exist() {
    let world = World::new("open").await;
    let at = [("enginio-backend-id", world.foreign.as_str())];
    let nobody = Credential::Nothing;
    let note = world
        .send_with(&nobody, "POST", "/v1/objects/notes", &json!({}), &at)
        .await
        .must_be(201);
    for (method, suffix) in [
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("GET", "/access"),
        ("PUT", "/access"),
    ] {
        let path = format!("{}{suffix}", path_of(&note));
        world
            .send(&world.admin(), method, &path, &json!({}))
            .await
            .must_be(404);
    }
}
