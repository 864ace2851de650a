//! References expanded in replies, and put back when the whole object returns.

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use serde_json::{Value, json};

fn reference(object: &Value) -> Value {
    json!({"id": object["id"], "objectType": object["objectType"]})
}

fn get(backend: &Backend, object: &Value, include: &Value) -> Value {
    backend
        .send(Request::get(format!(
            "{}?include={include}",
            path_of(object)
        )))
        .must_be(200)
}

#[test]
fn references_are_expanded_as_deep_as_asked() {
    let server = Server::demo();
    let backend = server.backend();
    let leaf = backend.create("leaves", &json!({"name": "leaf"}));
    let branch = backend.create(
        "branches",
        &json!({"name": "branch", "leaf": reference(&leaf), "n": 1}),
    );
    let tree = backend.create(
        "trees",
        &json!({"branch": reference(&branch), "leaf": reference(&leaf), "text": "x"}),
    );
    let plain = get(&backend, &tree, &json!({}));
    assert_eq!(plain, tree);
    let one = get(
        &backend,
        &tree,
        &json!({"branch": {}, "text": {}, "missing": {}}),
    );
    assert_eq!(one["branch"], branch);
    assert_eq!(
        (&one["leaf"], &one["text"]),
        (&reference(&leaf), &json!("x"))
    );
    assert!(one.get("missing").is_none());
    let two = get(
        &backend,
        &tree,
        &json!({"branch": {"include": {"leaf": {}, "n": {}}}}),
    );
    assert_eq!(two["branch"]["leaf"], leaf);
    assert_eq!(two["leaf"], reference(&leaf), "only what is asked for");
    // In lists as well, each in its place.
    let second = backend.create("trees", &json!({"branch": reference(&branch)}));
    let page = backend
        .send(Request::get(
            r#"/v1/objects/trees?include={"branch":{}}&limit=2"#,
        ))
        .must_be(200);
    assert_eq!(page["query"]["include"], json!({"branch": {}}));
    for (place, expected) in [&tree, &second].into_iter().enumerate() {
        assert_eq!(page["results"][place]["id"], expected["id"]);
        assert_eq!(page["results"][place]["branch"], branch);
    }
    assert!(
        page.get("next").is_some(),
        "a page goes on from the object as it is stored"
    );
}

#[test]
fn what_refers_to_itself_stops_where_the_call_says() {
    let server = Server::demo();
    let backend = server.backend();
    let made = backend.create("rings", &json!({"n": 1}));
    let ring = backend.update(&made, &json!({"self": reference(&made)}));
    let include = (0..4).fold(json!({}), |inner, _| json!({"self": {"include": inner}}));
    let mut place = &get(&backend, &ring, &include);
    for _ in 0..4 {
        place = &place["self"];
        assert_eq!(place["n"], 1);
    }
    assert_eq!(place["self"], reference(&made));
    let deep = (0..6).fold(json!({}), |inner, _| json!({"self": {"include": inner}}));
    let reply = backend
        .send(Request::get(format!("{}?include={deep}", path_of(&ring))))
        .must_be(400);
    assert!(
        text(&reply, "/errors/0/message").contains("5 levels"),
        "{reply}"
    );
}

#[test]
fn what_is_gone_leaves_no_trace() {
    let server = Server::demo();
    let backend = server.backend();
    let [kept, lost] =
        ["kept", "lost"].map(|name| backend.create("leaves", &json!({ "name": name })));
    let sent =
        json!({"one": reference(&lost), "many": [reference(&kept), reference(&lost), 1, "x"]});
    let tree = backend.create("trees", &sent);
    backend.delete(&lost);
    let found = get(&backend, &tree, &json!({"one": {}, "many": {}}));
    assert!(found.get("one").is_none(), "{found}");
    assert_eq!(found["many"], json!([kept, 1, "x"]));
    let plain = get(&backend, &tree, &json!({}));
    assert_eq!(
        plain["one"],
        reference(&lost),
        "without include it is as it was stored"
    );
}

#[test]
fn a_whole_object_sent_back_keeps_its_references() {
    let server = Server::demo();
    let backend = server.backend();
    let leaf = backend.create("leaves", &json!({"name": "leaf"}));
    let tree = backend.create(
        "trees",
        &json!({"leaf": reference(&leaf), "leaves": [reference(&leaf)]}),
    );
    let mut expanded = get(&backend, &tree, &json!({"leaf": {}, "leaves": {}}));
    assert_eq!(expanded["leaves"][0]["name"], "leaf");
    expanded["title"] = json!("edited");
    let after = backend.update(&tree, &expanded);
    assert_eq!(after["title"], "edited");
    assert_eq!(
        (&after["leaf"], &after["leaves"]),
        (&tree["leaf"], &tree["leaves"])
    );
}

#[test]
fn what_would_become_too_large_is_refused() {
    let server = Server::demo();
    let backend = server.backend();
    let large = backend.create("leaves", &json!({"text": "x".repeat(1 << 20)}));
    let many = vec![reference(&large); 40];
    let tree = backend.create("trees", &json!({ "many": many }));
    let reply = backend
        .send(Request::get(format!(
            r#"{}?include={{"many":{{}}}}"#,
            path_of(&tree)
        )))
        .must_be(413);
    assert!(
        text(&reply, "/errors/0/message").contains("include less"),
        "{reply}"
    );
    let small = backend.create("leaves", &json!({}));
    let wide = backend.create("trees", &json!({"many": vec![reference(&small); 10_001]}));
    let reply = backend
        .send(Request::get(format!(
            r#"{}?include={{"many":{{}}}}"#,
            path_of(&wide)
        )))
        .must_be(413);
    assert!(
        text(&reply, "/errors/0/message").contains("10000 references"),
        "{reply}"
    );
}

#[test]
fn what_the_caller_may_not_read_is_left_out() {
    let server = Server::demo();
    let backend = server.backend();
    let [leaf, inner] =
        ["leaf", "inner"].map(|name| backend.create("leaves", &json!({ "name": name })));
    let leaf = backend.update(&leaf, &json!({"inner": reference(&inner)}));
    let tree = backend.create(
        "trees",
        &json!({"leaf": reference(&leaf), "leaves": [reference(&inner)]}),
    );
    let include = json!({"leaf": {"include": {"inner": {}}}, "leaves": {}});
    let before = get(&backend, &tree, &include);
    assert_eq!(before["leaf"]["inner"]["name"], "inner");
    let hidden = json!({"read": [], "update": [], "delete": [], "admin": []});
    let hide = Request::post(format!("{}/access", path_of(&inner))).json(&hidden);
    backend.send_as_admin(hide).must_be(200);
    let after = get(&backend, &tree, &include);
    assert_eq!(after["leaf"]["name"], "leaf");
    assert!(after["leaf"].get("inner").is_none(), "{after}");
    assert_eq!(after["leaves"], json!([]));
    let admin = Request::get(format!("{}?include={include}", path_of(&tree)));
    assert_eq!(
        backend.send_as_admin(admin).must_be(200),
        before,
        "an administrator sees it all"
    );
}

#[test]
fn creator_and_updater_are_users_without_passwords() {
    let server = Server::demo();
    let backend = server.backend();
    let user = json!({"username": "anna", "password": "a-long-password", "city": "Oulu"});
    let user = backend
        .send(Request::post("/v1/users").json(&user))
        .must_be(201);
    let login = Request::post("/v1/auth/oauth2/token")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("grant_type=password&username=anna&password=a-long-password");
    let token = text(&backend.send(login).must_be(200), "/access_token");
    let made = Request::post("/v1/objects/trees")
        .bearer(&token)
        .json(&json!({"n": 1}));
    let made = backend.send(made).must_be(201);
    assert_eq!(made["creator"], reference(&user));
    let found = get(&backend, &made, &json!({"creator": {}, "updater": {}}));
    for name in ["creator", "updater"] {
        assert_eq!(
            (&found[name]["username"], &found[name]["city"]),
            (&json!("anna"), &json!("Oulu"))
        );
        assert!(found[name].get("password").is_none());
    }
}
