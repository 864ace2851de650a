//! Schemas over real HTTP: what they refuse and what they do on deletion, and their way from one backend to another.

use std::path::Path;
use std::process::Command;

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{paste, shape, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fault(property: &str, message: &str) -> Value {
    json!({"message": message, "property": property, "reason": "ValidationFailed"})
}

fn described(backend: &Backend, name: &str) -> Value {
    let get = Request::get(format!("/v1/object_types/{name}"));
    backend.send_as_admin(get).must_be(200)
}

/// As the console of the original exported it, with a rule of a kind that nobody here knows.
fn exported() -> Value {
    json!({"meta": {"type": "schemas"}, "objects": [
        {"object": {
            "id": "53c5027be5bde50bb7004d61", "name": "objects.boards",
            "createdAt": "2014-07-15T10:29:15.000Z", "updatedAt": "2014-07-16T10:29:15.000Z",
            "properties": [{"id": null, "name": "name", "type": "string", "indexed": true, "processors": [],
                "onCreate": null, "target": null}],
            "internalProperties": [{"name": "objectType", "type": "string"}],
            "validators": [{"id": "53c5027be5bde50bb7004d62", "name": "name.unique", "property": "name",
                "type": "unique", "options": {"message": "is in use"}}]}},
        {"object": {
            "id": "53c5027be5bde50bb7004d63", "name": "objects.cards",
            "createdAt": "2014-07-15T10:29:15.000Z", "updatedAt": "2014-07-16T10:29:15.000Z",
            "properties": [{"id": null, "name": "board", "type": "ref", "objectType": "objects.boards",
                "indexed": true, "processors": [], "onCreate": null,
                "target": {"id": "53c5", "onDelete": {"id": "53c5", "dependency": "deleteObject"}}}],
            "validators": [
                {"id": "53c5027be5bde50bb7004d64", "name": "title.required", "property": "title",
                 "type": "required", "options": {"message": "is required"}},
                {"id": "53c5027be5bde50bb7004d65", "name": "title.oracle", "property": "title",
                 "type": "oracle", "options": {}}]}}]})
}

#[test]
fn an_exported_schema_holds_where_it_is_imported_and_is_exported_again() {
    let server = Server::serve();
    let cloud = server.cloud();
    let backend = cloud.create_backend("first");
    let import = |backend: &Backend, document: &Value| {
        backend.send_as_admin(Request::post("/v1/schema").json(document))
    };
    let imported = import(&backend, &exported()).must_be(200);
    assert_eq!(imported["results"].as_array().unwrap().len(), 2);
    assert_eq!(imported["warnings"].as_array().unwrap().len(), 1);
    assert!(text(&imported, "/warnings/0").contains("validators[1]"));
    assert_eq!(
        described(&backend, "cards")["id"],
        "53c5027be5bde50bb7004d63"
    );

    // It is in force.
    let post = |path: &str, body: &Value| backend.send(Request::post(path).json(body));
    let refused = post("/v1/objects/cards", &json!({"title": ""})).must_be(400);
    assert_eq!(refused, json!({"errors": [fault("title", "is required")]}));
    let board = backend.create("boards", &json!({"name": "A"}));
    let refused = post("/v1/objects/boards", &json!({"name": "A"})).must_be(400);
    assert_eq!(refused, json!({"errors": [fault("name", "is in use")]}));
    let reference = json!({"id": board["id"], "objectType": "objects.boards"});
    let card = backend.create(
        "cards",
        &json!({"title": "x", "board": reference, "color": "red"}),
    );
    backend.delete(&board);
    shape::eds_error(&backend.send(Request::get(path_of(&card))), 404, "NotFound");

    let export = |backend: &Backend| {
        backend
            .send_as_admin(Request::get("/v1/schema"))
            .must_be(200)
    };
    let once = export(&backend);
    assert_eq!(once["meta"], json!({"type": "schemas"}));
    let cards = &once["objects"][1]["object"];
    assert_eq!(cards["validators"][0]["id"], "53c5027be5bde50bb7004d64");
    let seen: Vec<&Value> = cards["properties"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|property| property["inferred"] == true)
        .map(|property| &property["name"])
        .collect();
    assert_eq!(seen, ["title", "color"]);

    // Ids, times and rules are the same after another journey; what was only seen in use stays behind.
    let second = cloud.create_backend("second");
    import(&second, &once).must_be(200);
    let strip = |mut document: Value| {
        for entry in document["objects"].as_array_mut().unwrap() {
            let object = entry["object"].as_object_mut().unwrap();
            object.shift_remove("updatedAt");
            let properties = object["properties"].as_array_mut().unwrap();
            properties.retain(|property| property.get("inferred").is_none());
        }
        document
    };
    assert_eq!(strip(export(&second)), strip(once));

    // A document with one fault changes nothing.
    let mut broken = exported();
    broken["objects"][0]["object"]["name"] = json!("objects.fresh");
    broken["objects"][1]["object"]["properties"][0]["type"] = json!("magic");
    let refused = import(&second, &broken);
    shape::eds_error(&refused, 400, "ValidationFailed");
    assert_eq!(
        refused.must_be(400)["errors"][0]["property"],
        "objects[1].object.properties[0]"
    );
    let get = Request::get("/v1/object_types/fresh");
    assert_eq!(second.send_as_admin(get).status, 404);
}

#[test]
fn a_reference_that_must_stay_keeps_its_target_and_one_that_may_go_is_cleared() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("boards");
    let describe = |name: &str, dependency: &str| {
        let body = json!({"name": name, "properties": [{"name": "board", "type": "ref",
            "target": {"onDelete": {"dependency": dependency}}}]});
        backend.send_as_admin(Request::post("/v1/object_types").json(&body))
    };
    describe("locks", "restrict").must_be(201);
    describe("notes", "clear").must_be(201);
    shape::eds_error(&describe("others", "explode"), 400, "ValidationFailed");
    let board = backend.create("boards", &json!({}));
    let reference = json!({"id": board["id"], "objectType": "objects.boards"});
    let lock = backend.create("locks", &json!({"board": reference}));
    let note = backend.create("notes", &json!({"board": reference, "text": "x"}));
    let remove = || backend.send(Request::delete(path_of(&board)));
    shape::eds_error(&remove(), 409, "Conflict");
    backend.delete(&lock);
    remove().must_be(200);
    let note = backend.send(Request::get(path_of(&note))).must_be(200);
    assert_eq!((&note["board"], &note["text"]), (&Value::Null, &json!("x")));
}

#[test]
fn a_type_is_removed_with_its_objects_when_that_is_said() {
    let server = Server::serve();
    let backend = server.cloud().create_backend("removal");
    backend.create("todos", &json!({"title": "a"}));
    let remove = |query: &str| {
        backend.send_as_admin(Request::delete(format!("/v1/object_types/todos{query}")))
    };
    shape::eds_error(&remove(""), 409, "Conflict");
    assert_eq!(remove("?objects=true").must_be(200), json!({"objects": 1}));
    shape::eds_error(&remove(""), 404, "NotFound");
    let list = backend.send(Request::get("/v1/objects/todos")).must_be(200);
    assert_eq!(list["results"], json!([]));
    for built_in in ["users", "usergroups", "files"] {
        let remove = Request::delete(format!("/v1/object_types/{built_in}?objects=true"));
        shape::eds_error(&backend.send_as_admin(remove), 409, "Conflict");
    }
    // Nobody but an administrator.
    let anonymous = backend.send(Request::delete("/v1/object_types/todos"));
    shape::eds_error(&anonymous, 401, "Unauthorized");
}

#[test]
fn a_backend_begins_with_a_template_and_an_id_of_ones_own() {
    let server = Server::serve();
    let cloud = server.cloud();
    let create = |name: &str, more: Value| {
        let mut body = json!({"name": name, "serviceProviderId": "eds"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let path = format!("/v1/accounts/{}/instances", cloud.account_id);
        cloud.send(Request::post(path).json(&body))
    };
    let open = |made: &Value| {
        let id = text(made, "/id");
        let tokens = cloud.send(Request::get(format!("/v1/instances/{id}/authorizations")));
        let token = text(&tokens.must_be(200), "/results/0/access_token");
        Backend::new(server.http, &id, &token)
    };
    for (template, object_type) in [
        ("todos", Some("todos")),
        ("image-gallery", Some("image")),
        ("address-book", Some("addressbook")),
        ("blank", None),
    ] {
        let made = create(template, json!({"config": {"template": template}})).must_be(201);
        let backend = open(&made);
        let types = backend
            .send_as_admin(Request::get("/v1/object_types"))
            .must_be(200);
        assert_eq!(
            types["results"].as_array().unwrap().len(),
            usize::from(object_type.is_some())
        );
        if let Some(name) = object_type {
            assert_eq!(described(&backend, name)["settings"]["websocket"], true);
        }
    }
    assert_eq!(
        create("x", json!({"config": {"template": "chess"}})).status,
        422
    );

    let id = "51cdbc08989e975ec300772a";
    let made = create("fixture", json!({"id": id})).must_be(201);
    assert_eq!(made["id"], id);
    open(&made).create("todos", &json!({"title": "x"}));
    assert_eq!(create("fixture", json!({"id": id})).status, 409);
    cloud
        .send(Request::delete(format!("/v1/instances/{id}")))
        .must_be(200);
    assert_eq!(
        create("fixture", json!({"id": id})).status,
        409,
        "it can be restored"
    );
    cloud
        .send(Request::delete(format!("/v1/instances/{id}?now=true")))
        .must_be(200);
    let again = open(&create("fixture", json!({"id": id})).must_be(201));
    let list = again.send(Request::get("/v1/objects/todos")).must_be(200);
    assert_eq!(list["results"], json!([]), "a new backend is empty");
}

#[test]
fn rules_and_what_they_hold_outlive_a_kill() {
    let folder = TempDir::new().unwrap();
    let options = Options {
        data: Some(folder.path().to_owned()),
        ..Options::serve()
    };
    let server = Server::start(&options);
    let mut backend = server.cloud().create_backend("durable");
    let rule = json!({"name": "people", "validators": [{"property": "email", "type": "unique"}]});
    let describe = Request::post("/v1/object_types").json(&rule);
    backend.send_as_admin(describe).must_be(201);
    backend.create("people", &json!({"email": "a@b.c"}));
    server.kill();
    let server = Server::start(&options);
    backend = Backend::new(server.http, &backend.id, &backend.token);
    let twice = Request::post("/v1/objects/people").json(&json!({"email": "a@b.c"}));
    shape::eds_error(&backend.send(twice), 400, "ValidationFailed");
    backend.create("people", &json!({"email": "d@e.f"}));
}

/// The page about schemas runs as it is written.
#[test]
fn the_page_about_schemas_works_as_written() {
    if Command::new("curl").arg("--version").output().is_err() {
        skip::report("curl is not installed");
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema.md");
    let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
    assert!(blocks.len() >= 4, "the page marks its blocks");
    let server = Server::serve();
    let cloud = server.cloud();
    let address = format!("http://{}", server.http);
    let variables = [
        ("pilvi", address.as_str()),
        ("account", cloud.account_id.as_str()),
        ("token", cloud.token.as_str()),
    ];
    paste::run(&blocks.join("\n"), &variables);
}
