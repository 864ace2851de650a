//! Access lists, object types, batches and repeated creates, as clients send and see them.

use serde_json::{Value, json};

use super::{Credential, World, everyone, path_of, reference};

const NOBODY: Credential = Credential::Nothing;

#[tokio::test]
async fn the_four_verbs_answer_with_the_whole_list() {
    let world = World::new("open").await;
    let (ann, as_ann) = world.sign_up("ann").await;
    let (bob, as_bob) = world.sign_up("bob").await;
    let note = world.post(&as_ann, "/v1/objects/notes", json!({})).await;
    assert_eq!(note["creator"], reference(&ann));
    let path = format!("{}/access", path_of(&note));
    let fresh = world
        .send(&as_ann, "GET", &path, &Value::Null)
        .await
        .must_be(200);
    let expected = json!({"read": everyone(), "update": everyone(), "delete": everyone(), "admin": [reference(&ann)]});
    assert_eq!(fresh, expected);

    let made_up = json!({"id": "made-up", "objectType": "users"});
    let replaced = json!({"id": "x", "read": [made_up], "admin": [reference(&ann)]});
    let list = world
        .send(&as_ann, "POST", &path, &replaced)
        .await
        .must_be(200);
    assert_eq!(
        list,
        json!({"read": [made_up], "update": [], "delete": [], "admin": [reference(&ann)]})
    );
    let more = json!({"read": [bob], "update": [bob]});
    for _ in 0..2 {
        let list = world.send(&as_ann, "PUT", &path, &more).await.must_be(200);
        assert_eq!(list["read"].as_array().unwrap().len(), 2);
        assert_eq!(list["update"], json!([reference(&bob)]));
    }
    world
        .send(&as_bob, "GET", &path, &Value::Null)
        .await
        .must_be(403);
    world
        .send(&as_bob, "PUT", &path_of(&note), &json!({"a": 1}))
        .await
        .must_be(200);
    world
        .send(&as_bob, "DELETE", &path_of(&note), &Value::Null)
        .await
        .must_be(403);

    let expanded = format!("{path}?expand=1");
    let list = world
        .send(&as_ann, "GET", &expanded, &Value::Null)
        .await
        .must_be(200);
    assert_eq!(list["update"][0]["username"], "bob");
    assert!(list["update"][0].get("password").is_none());
    assert!(list["read"].as_array().unwrap().contains(&made_up));

    let list = world
        .send(&as_ann, "DELETE", &path, &more)
        .await
        .must_be(200);
    assert_eq!(
        list,
        json!({"read": [made_up], "update": [], "delete": [], "admin": [reference(&ann)]})
    );
    world
        .send(&as_bob, "GET", &path_of(&note), &Value::Null)
        .await
        .must_be(404);
    for wrong in [
        json!([]),
        json!({"read": "*"}),
        json!({"read": [{"id": "x", "objectType": "objects.a"}]}),
    ] {
        world.send(&as_ann, "PUT", &path, &wrong).await.must_be(400);
    }
}

#[tokio::test]
async fn a_type_is_made_merged_read_and_replaced() {
    let world = World::new("open").await;
    let admin = world.admin();
    let first = json!({"name": "CustomObject1", "settings": {"websocket": true},
        "properties": [{"name": "title", "type": "string", "indexed": false}]});
    let made = world.post(&admin, "/v1/object_types", first).await;
    assert_eq!(made["name"], "objects.CustomObject1");
    assert_eq!(made["properties"][0]["name"], "title");
    assert_eq!(made["accessControlList"]["create"], everyone());
    let second =
        json!({"name": "CustomObject1", "properties": [{"name": "count", "type": "number"}]});
    let merged = world
        .send(&admin, "POST", "/v1/object_types", &second)
        .await
        .must_be(200);
    assert_eq!(merged["properties"].as_array().unwrap().len(), 2);
    assert_eq!(merged["settings"], json!({"websocket": true}));

    let by_id = format!("/v1/object_types/{}", made["id"].as_str().unwrap());
    for path in [
        by_id.as_str(),
        "/v1/object_types/CustomObject1",
        "/v1/object_types/objects.CustomObject1",
    ] {
        let got = world
            .send(&admin, "GET", path, &Value::Null)
            .await
            .must_be(200);
        assert_eq!(got, merged);
    }
    let closed = json!({"accessControlList": {"create": []}});
    let replaced = world
        .send(&admin, "PUT", &by_id, &closed)
        .await
        .must_be(200);
    assert_eq!(
        replaced["accessControlList"],
        json!({"read": everyone(), "create": []})
    );
    assert_eq!(replaced["properties"], merged["properties"]);
    let refused = world
        .send(&NOBODY, "POST", "/v1/objects/CustomObject1", &json!({}))
        .await;
    assert_eq!(refused.must_be(401)["errors"][0]["reason"], "Unauthorized");
    world.post(&NOBODY, "/v1/objects/other", json!({})).await;
    let all = world
        .send(&admin, "GET", "/v1/object_types", &Value::Null)
        .await
        .must_be(200);
    let names: Vec<&Value> = all["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|known| &known["name"])
        .collect();
    assert_eq!(names, ["objects.CustomObject1", "objects.other"]);
    world
        .send(&admin, "GET", "/v1/object_types/nothing", &Value::Null)
        .await
        .must_be(404);
    let nameless = world
        .send(&admin, "POST", "/v1/object_types", &json!({}))
        .await
        .must_be(400);
    assert_eq!(nameless["errors"][0]["property"], "name");
}

#[tokio::test]
async fn a_batch_is_carried_out_whole_or_not_at_all() {
    let world = World::new("open").await;
    let note = world
        .post(&NOBODY, "/v1/objects/notes", json!({"n": 1}))
        .await;
    let path = path_of(&note);
    let operations = |last: &str| {
        json!({"operations": [
            {"method": "POST", "path": "/v1/objects/notes", "body": {"n": 2}},
            {"method": "PUT", "path": path, "body": {"n": 3}},
            {"method": "PUT", "path": format!("{path}/atomic"), "body": {"$inc": {"n": 1}}},
            {"method": "DELETE", "path": last},
        ]})
    };
    let missing = "/v1/objects/notes/51cdbc08989e975ec300772a";
    let refused = world
        .send(&NOBODY, "POST", "/v1/batch", &operations(missing))
        .await
        .must_be(404);
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("operations[3]: "), "{message}");
    let badly_named = json!({"operations": [
        {"method": "POST", "path": "/v1/objects/notes", "body": {"n": 2}},
        {"method": "POST", "path": "/v1/objects/notes", "body": {"$n": 3}},
    ]});
    let refused = world
        .send(&NOBODY, "POST", "/v1/batch", &badly_named)
        .await
        .must_be(400);
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(message.ends_with(" (in operations[1])"), "{message}");
    assert_eq!(
        world
            .send(&NOBODY, "GET", &path, &Value::Null)
            .await
            .must_be(200),
        note
    );

    let done = world
        .send(&NOBODY, "POST", "/v1/batch", &operations(&path))
        .await
        .must_be(200);
    let statuses: Vec<&Value> = done["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["status"])
        .collect();
    assert_eq!(statuses, [201, 200, 200, 200]);
    assert_eq!(done["results"][2]["body"]["n"], 4);
    assert_eq!(done["results"][3]["body"], json!({}));
    let listed = world
        .send(&NOBODY, "GET", "/v1/objects/notes", &Value::Null)
        .await
        .must_be(200);
    assert_eq!(listed["results"], json!([done["results"][0]["body"]]));

    let many: Vec<Value> =
        vec![json!({"method": "POST", "path": "/v1/objects/notes", "body": {}}); 101];
    for wrong in [
        json!({}),
        json!({"operations": many}),
        json!({"operations": [{"method": "GET", "path": path}]}),
        json!({"operations": [{"method": "POST", "path": "/v1/users", "body": {}}]}),
        json!({"operations": [{"method": "POST", "path": "/v1/objects/notes", "body": 5}]}),
    ] {
        world
            .send(&NOBODY, "POST", "/v1/batch", &wrong)
            .await
            .must_be(400);
    }
}

#[tokio::test]
async fn a_create_that_is_sent_again_is_made_once() {
    let world = World::new("open").await;
    let body = json!({"n": 1});
    let key = [("idempotency-key", "5f3c")];
    let path = "/v1/objects/notes";
    let first = world
        .send_with(&NOBODY, "POST", path, &body, &key)
        .await
        .must_be(201);
    let again = world
        .send_with(&NOBODY, "POST", path, &body, &key)
        .await
        .must_be(201);
    assert_eq!(again, first);
    let other = world
        .send_with(&NOBODY, "POST", path, &json!({"n": 2}), &key)
        .await
        .must_be(400);
    assert_eq!(other["errors"][0]["reason"], "BadRequest");
    let count = world
        .send(&NOBODY, "GET", "/v1/objects/notes?count", &Value::Null)
        .await
        .must_be(200);
    assert_eq!(count["count"], 1);
    let long = "k".repeat(256);
    world
        .send_with(&NOBODY, "POST", path, &body, &[("idempotency-key", &long)])
        .await
        .must_be(400);
}
