//! Searching through the door.

use serde_json::{Value, json};

use super::{Credential, World, everyone, path_of};

const NOBODY: Credential = Credential::Nothing;

/// Where a query leads that is written as people read it.
fn target(query: &str) -> String {
    let query = query
        .replace('{', "%7B")
        .replace('}', "%7D")
        .replace('"', "%22");
    format!("/v1/search?{query}")
}

async fn get(world: &World, who: &Credential, query: &str) -> Value {
    let path = target(query);
    world
        .send(who, "GET", &path, &Value::Null)
        .await
        .must_be(200)
}

fn titles(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().unwrap();
    let mut titles: Vec<&str> = results
        .iter()
        .map(|object| object["title"].as_str().unwrap())
        .collect();
    titles.sort_unstable();
    titles
}

fn encoded(search: &Value) -> String {
    form_urlencoded::byte_serialize(search.to_string().as_bytes()).collect()
}

#[tokio::test]
async fn everybody_finds_what_was_just_written() {
    let world = World::new("open").await;
    for number in 0..20 {
        let title = format!("cat {number:02}");
        let note = world
            .post(&NOBODY, "/v1/objects/notes", json!({"title": title}))
            .await;
        let found = get(
            &world,
            &NOBODY,
            "objectTypes[]=objects.notes&search={\"phrase\":\"cat\"}",
        )
        .await;
        assert_eq!(titles(&found).len(), number + 1);
        assert!(titles(&found).contains(&note["title"].as_str().unwrap()));
    }
    world.tasks.stop();
}

#[tokio::test]
async fn a_search_takes_what_both_clients_send_and_repeats_it() {
    let world = World::new("open").await;
    let cat = json!({"title": "cat", "stringValue": "dog"});
    let first = world.post(&NOBODY, "/v1/objects/a", cat).await;
    world
        .post(
            &NOBODY,
            "/v1/objects/b",
            json!({"title": "dog", "friend": {"id": first["id"],
        "objectType": "objects.a"}}),
        )
        .await;
    let both = "objectTypes[]=objects.a&objectTypes[]=objects.b";
    let search = encoded(&json!({"phrase": "cat OR dog"}));
    let found = get(&world, &NOBODY, &format!("{both}&search={search}")).await;
    assert_eq!(titles(&found), ["cat", "dog"]);
    assert_eq!(
        found["query"],
        json!({"query": {}, "limit": 100, "offset": 0, "objectTypes": ["objects.a", "objects.b"],
            "search": {"phrase": "cat OR dog"}})
    );
    let node = encoded(
        &json!({"phrase": "dog cat", "properties": "stringValue,other", "defaultOperator": "OR"}),
    );
    let found = get(
        &world,
        &NOBODY,
        &format!("objectTypes=objects.a,objects.b&search={node}&limit=5"),
    )
    .await;
    assert_eq!(titles(&found), ["cat"]);
    let count = get(&world, &NOBODY, &format!("{both}&search={search}&count=")).await;
    assert_eq!((&count["count"], count.get("results")), (&json!(2), None));
    let sorted = encoded(&json!([{"sortBy": "title", "direction": "desc"}]));
    let page = get(
        &world,
        &NOBODY,
        &format!("{both}&search={search}&sort={sorted}&limit=1&offset=1"),
    )
    .await;
    assert_eq!(titles(&page), ["cat"]);
    assert_eq!(page.get("next"), None);
    let include = encoded(&json!({"friend": {}}));
    let whole = get(
        &world,
        &NOBODY,
        &format!("objectTypes=objects.b&search={search}&include={include}"),
    )
    .await;
    assert_eq!(whole["results"][0]["friend"]["title"], "cat");
    world.tasks.stop();
}

#[tokio::test]
async fn nobody_finds_what_they_may_not_read() {
    let world = World::new("private").await;
    let (_, owner) = world.sign_up("owner").await;
    let (_, stranger) = world.sign_up("stranger").await;
    let note = world
        .post(&owner, "/v1/objects/notes", json!({"title": "cat"}))
        .await;
    let query = "objectTypes=objects.notes&search={\"phrase\":\"cat\"}";
    assert_eq!(titles(&get(&world, &owner, query).await), ["cat"]);
    assert_eq!(titles(&get(&world, &world.admin(), query).await), ["cat"]);
    assert_eq!(
        titles(&get(&world, &stranger, query).await),
        Vec::<&str>::new()
    );
    let count = get(&world, &stranger, &format!("{query}&count=1")).await;
    assert_eq!(count["count"], 0);
    let access = format!("{}/access", path_of(&note));
    let list = json!({"read": everyone()});
    world.send(&owner, "PUT", &access, &list).await.must_be(200);
    assert_eq!(titles(&get(&world, &stranger, query).await), ["cat"]);
    let anonymous = world
        .send(&NOBODY, "GET", &target(query), &Value::Null)
        .await;
    anonymous.must_be(401);
    world.tasks.stop();
}

#[tokio::test]
async fn a_search_that_cannot_be_read_is_refused_in_words() {
    let world = World::new("open").await;
    for (query, expected) in [
        ("", "`objectTypes` is missing"),
        ("objectTypes=objects.a", "`search` is missing"),
        ("objectTypes=objects.a&search=", "`search` is missing"),
        ("objectTypes=objects.a&search={", "search is not JSON"),
        (
            "objectTypes=objects.a&search={\"phrase\":\"(\"}",
            "parenthesis",
        ),
        ("objectTypes=objects.a&search={\"phrase\":\"\"}", "no word"),
        (
            "objectTypes=nothing&search={\"phrase\":\"x\"}",
            "no object type",
        ),
        (
            "objectTypes=objects.a&search={\"phrase\":\"x\"}&after=51cdbc08989e975ec300772a",
            "after",
        ),
    ] {
        let path = target(query);
        let refused = world
            .send(&NOBODY, "GET", &path, &Value::Null)
            .await
            .must_be(400);
        let error = &refused["errors"][0];
        assert_eq!(error["reason"], "BadRequest", "{query}");
        assert!(
            error["message"].as_str().unwrap().contains(expected),
            "{query}: {error}"
        );
    }
    // A type that nobody used has nothing, as in a list.
    let none = get(
        &world,
        &NOBODY,
        "objectTypes=objects.never&search={\"phrase\":\"x\"}",
    )
    .await;
    assert_eq!(none["results"], json!([]));
    world.tasks.stop();
}
