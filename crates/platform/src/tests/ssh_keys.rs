//! The ssh keys of a person, as the command line and the console manage them.

use serde_json::{Value, json};

use super::World;

pub(super) const KEY: &str = concat!(
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIkOuzknHIUCP+kOKTM4uJLdOlfHxJfFcadBFoDDwjE6",
    " ada@laptop\n"
);
pub(super) const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGNZgHyuPLNBjsHWIbEBpYuhJWBvfYbJSBiAJCDPbhHx desk";
const FINGERPRINT: &str = "SHA256:xTo5TRQjY9mSi8KC0ocnYxMh4GHeAzbYCTB5ep36myk";
const PATH: &str = "/v1/user/ssh_keys";

#[tokio::test]
async fn a_key_is_added_listed_and_removed() {
    let world = World::new().await;
    assert_eq!(world.get(PATH).await.expect(200), json!({"results": []}));
    let added = world
        .call("POST", PATH, json!({"name": "laptop", "key": KEY}))
        .await
        .expect(201);
    let expected = json!({
        "id": added["id"],
        "name": "laptop",
        "fingerprint": FINGERPRINT,
        "createdAt": "2015-03-18T09:00:00Z",
    });
    assert_eq!(added, expected);
    assert_eq!(
        world.get(PATH).await.expect(200),
        json!({"results": [expected]})
    );
    let holder = world
        .store
        .find_ssh_key_holder(FINGERPRINT.to_owned())
        .await
        .unwrap();
    assert_eq!(holder.unwrap().id, world.person);

    let path = format!("{PATH}/{}", added["id"]);
    // The command line sends `null` along.
    assert_eq!(
        world.call("DELETE", &path, Value::Null).await.expect(200),
        json!({})
    );
    world.call("DELETE", &path, Value::Null).await.expect(404);
    world
        .call("DELETE", &format!("{PATH}/laptop"), Value::Null)
        .await
        .expect(404);
    assert_eq!(world.get(PATH).await.expect(200), json!({"results": []}));
}

#[tokio::test]
async fn a_key_that_is_known_is_a_conflict_and_that_of_a_neighbour_cannot_be_removed() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    let body = json!({"name": "laptop", "key": KEY});
    let added = world.call("POST", PATH, body.clone()).await.expect(201);
    world.call("POST", PATH, body.clone()).await.expect(409);
    world
        .call_as(&neighbour.token, "POST", PATH, body)
        .await
        .expect(409);
    let path = format!("{PATH}/{}", added["id"]);
    world
        .call_as(&neighbour.token, "DELETE", &path, Value::Null)
        .await
        .expect(404);
    assert_eq!(
        world.get(PATH).await.expect(200)["results"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn all_faults_of_a_key_are_told_at_once() {
    let world = World::new().await;
    for (body, fields) in [
        (json!({"name": "", "key": "hello"}), vec!["name", "key"]),
        (json!({"name": "laptop"}), vec!["key"]),
        (json!({"key": KEY}), vec!["name"]),
        (
            json!({"name": "a", "key": "-----BEGIN OPENSSH PRIVATE KEY-----"}),
            vec!["key"],
        ),
        (json!({"name": "a", "key": 1}), vec!["key"]),
    ] {
        let answer = world.call("POST", PATH, body.clone()).await.expect(422);
        let errors = answer["error"]["errors"]
            .as_array()
            .or(answer["errors"].as_array());
        let found: Vec<_> = errors
            .unwrap_or_else(|| panic!("{answer}"))
            .iter()
            .map(|error| error["property"].as_str().unwrap())
            .collect();
        assert_eq!(found, fields, "{body}");
    }
}
