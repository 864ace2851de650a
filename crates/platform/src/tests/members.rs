//! Members and their roles.

use pilvi_model::{Kind, PersonId};
use pilvi_store::platform::{Asker, Role};
use serde_json::{Value, json};

use super::World;

impl World {
    fn member_path(&self, person: PersonId) -> String {
        self.account_path(&format!("/members/{person}"))
    }

    async fn person_of(&self, token: &str) -> PersonId {
        let user = self.call_as(token, "GET", "/v1/user", Value::Null).await;
        user.expect(200)["id"].as_str().unwrap().parse().unwrap()
    }

    async fn roles(&self) -> Vec<(String, String)> {
        let members = self.get(&self.account_path("/members")).await.expect(200);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let members = members["results"].as_array().unwrap().iter();
        members
            .map(|member| (text(&member["email"]), text(&member["role"])))
            .collect()
    }
}

#[tokio::test]
async fn members_are_seen_by_members_with_their_roles() {
    let world = World::new().await;
    let (viewer, _) = world.add_member(Role::Viewer).await;
    let path = world.account_path("/members");
    let members = world.call_as(&viewer, "GET", &path, Value::Null).await;
    let operator = json!({
        "id": world.person.to_string(),
        "email": "operator@localhost",
        "name": "Operator",
        "role": "owner",
    });
    let results = &members.expect(200)["results"];
    assert_eq!(results[1], operator);
    assert_eq!(results[0]["role"], "viewer");
}

#[tokio::test]
async fn everybody_hears_what_they_are_in_an_account() {
    let world = World::new().await;
    let path = world.account_path("");
    for role in [Role::Owner, Role::Developer, Role::Viewer] {
        let (own, account_token) = world.add_member(role).await;
        let list = world.call_as(&own, "GET", "/v1/user/accounts", Value::Null);
        let listed = list.await.expect(200)["results"][0].clone();
        assert_eq!(listed["role"], role.as_str());
        let shown = world.call_as(&own, "GET", &path, Value::Null).await;
        assert_eq!(shown.expect(200), listed);
        // Whose token of the account it is, says nothing.
        let shown = world.call_as(&account_token, "GET", &path, Value::Null);
        assert_eq!(shown.await.expect(200).get("role"), None);
    }
    let made = world.call("POST", "/v1/accounts", json!({"name": "Mine"}));
    assert_eq!(made.await.expect(201)["role"], "owner");
    let renamed = world.call("PUT", &path, json!({"name": "Ours"}));
    assert_eq!(renamed.await.expect(200)["role"], "owner");
}

#[tokio::test]
async fn an_owner_changes_a_role_and_the_new_one_holds_at_once() {
    let world = World::new().await;
    let (token, account_token) = world.add_member(Role::Viewer).await;
    let person = world.person_of(&token).await;
    let instance = world.add_instance("eds").await;
    let rename = format!("/v1/instances/{}", instance.id);
    let body = json!({"name": "new"});
    let refused = world.call_as(&token, "PUT", &rename, body.clone()).await;
    refused.expect(403);

    let path = world.member_path(person);
    let changed = world.call("PUT", &path, json!({"role": "developer"})).await;
    assert_eq!(changed.expect(200)["role"], "developer");
    let renamed = world.call_as(&token, "PUT", &rename, body).await;
    renamed.expect(200);
    let account_token = pilvi_base::Secret::new(account_token);
    let administers = world.identity.administers(&account_token, &instance).await;
    assert!(administers.unwrap());
}

#[tokio::test]
async fn who_is_sent_away_or_leaves_has_no_token_any_more() {
    let world = World::new().await;
    for leaves in [false, true] {
        let (token, account_token) = world.add_member(Role::Developer).await;
        let path = world.member_path(world.person_of(&token).await);
        let who = if leaves { &token } else { &world.token };
        world
            .call_as(who, "DELETE", &path, Value::Null)
            .await
            .expect(200);
        let account = world.account_path("");
        world
            .call_as(&token, "GET", &account, Value::Null)
            .await
            .expect(404);
        world
            .call_as(&account_token, "GET", &account, Value::Null)
            .await
            .expect(401);
        let other = world.store.find_person(world.person_of(&token).await).await;
        world
            .store
            .set_unproven_email(
                other.unwrap().unwrap().id,
                format!("away{leaves}@localhost"),
            )
            .await
            .unwrap();
        assert_eq!(world.roles().await.len(), 1);
    }
}

#[tokio::test]
async fn only_owners_change_members_and_nobody_raises_themselves() {
    let world = World::new().await;
    let (developer, _) = world.add_member(Role::Developer).await;
    let (viewer, _) = world.add_member(Role::Viewer).await;
    let (developer_id, viewer_id) = (
        world.person_of(&developer).await,
        world.person_of(&viewer).await,
    );
    for (token, person, role) in [
        (&developer, viewer_id, "developer"),
        (&developer, developer_id, "owner"),
        (&viewer, viewer_id, "owner"),
        (&viewer, viewer_id, "developer"),
        (&developer, world.person, "viewer"),
    ] {
        let path = world.member_path(person);
        let refused = world
            .call_as(token, "PUT", &path, json!({"role": role}))
            .await;
        refused.expect(403);
    }
    let path = world.member_path(world.person);
    let refused = world
        .call_as(&developer, "DELETE", &path, Value::Null)
        .await;
    refused.expect(403);
    assert_eq!(world.roles().await.len(), 3);
}

#[tokio::test]
async fn the_last_owner_stays() {
    let world = World::new().await;
    world.add_member(Role::Developer).await;
    let path = world.member_path(world.person);
    for (method, body) in [("PUT", json!({"role": "viewer"})), ("DELETE", Value::Null)] {
        let refused = world.call(method, &path, body).await.expect(409);
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("only owner"), "{message}");
    }
    // With a second one the first may go.
    world.add_member(Role::Owner).await;
    world.call("DELETE", &path, Value::Null).await.expect(200);
    world.get(&world.account_path("")).await.expect(404);
}

/// Two owners who throw one another out at the same moment leave one behind.
#[tokio::test]
async fn an_account_never_loses_its_last_owner_to_a_race() {
    for _ in 0..20 {
        let world = World::new().await;
        let (other, _) = world.add_member(Role::Owner).await;
        let other = world.person_of(&other).await;
        let throw_out = |asker, person| {
            let asker = Asker::Member(asker);
            world.store.delete_member(asker, world.account, person)
        };
        let (one, two) = tokio::join!(
            throw_out(world.person, other),
            throw_out(other, world.person)
        );
        assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
        let members = world.store.list_members(world.account).await.unwrap();
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].role, Role::Owner);
    }
}

#[tokio::test]
async fn a_role_is_one_of_three() {
    let world = World::new().await;
    let (token, _) = world.add_member(Role::Viewer).await;
    let path = world.member_path(world.person_of(&token).await);
    for wrong in [
        json!({}),
        json!({"role": null}),
        json!({"role": "Owner"}),
        json!({"role": "admin"}),
        json!({"role": 1}),
    ] {
        let refused = world.call("PUT", &path, wrong.clone()).await.expect(422);
        assert_eq!(refused["errors"][0]["property"], "role", "{wrong}");
    }
}

#[tokio::test]
async fn an_operator_is_let_into_no_account_of_others() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    let path = format!("/v1/accounts/{}/members", neighbour.account);
    world.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_server_keeps_an_operator() {
    let world = World::new().await;
    let caller = crate::Caller::Person(world.person);
    world.platform.check_operator(&caller).await.unwrap();
    let refused = world.store.set_operator(world.person, false).await;
    assert_eq!(refused.unwrap_err().kind, Kind::Conflict);

    let neighbour = world.add_neighbour().await.person;
    let other = crate::Caller::Person(neighbour);
    let refused = world.platform.check_operator(&other).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Forbidden);
    assert!(world.store.set_operator(neighbour, true).await.unwrap());
    assert!(world.store.set_operator(world.person, false).await.unwrap());
    world.platform.check_operator(&other).await.unwrap();
    assert!(world.platform.check_operator(&caller).await.is_err());
    assert!(
        !world
            .store
            .set_operator(PersonId::random(), true)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn an_account_is_renamed_by_its_owners() {
    let world = World::new().await;
    let path = world.account_path("");
    let renamed = world.call("PUT", &path, json!({"name": "Ours"})).await;
    assert_eq!(renamed.expect(200)["name"], "Ours");
    assert_eq!(world.get(&path).await.expect(200)["name"], "Ours");
    for wrong in [json!({}), json!({"name": " "}), json!({"name": "a\u{7}"})] {
        let refused = world.call("PUT", &path, wrong).await.expect(422);
        assert_eq!(refused["errors"][0]["property"], "name");
    }
}
