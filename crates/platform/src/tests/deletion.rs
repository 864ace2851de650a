//! Deleted instances: hidden from everybody, kept for a time, brought back as they were, gone in the end.

use std::time::Duration;

use pilvi_base::Secret;
use pilvi_model::Kind;
use pilvi_store::platform::Role;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Step, World};
use crate::{Caller, Removal, Settings};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl World {
    async fn delete(&self, id: &str) {
        let path = format!("/v1/instances/{id}");
        self.call("DELETE", &path, Value::Null).await.expect(200);
    }

    async fn security_token(&self, id: &str) -> String {
        self.get(&format!("/v1/instances/{id}/authorizations"))
            .await
            .first_token()
    }

    async fn knows(&self, token: &str) -> bool {
        let token = Secret::new(token);
        self.identity.authenticate(&token).await.unwrap().is_some()
    }

    async fn deleted(&self) -> Vec<Value> {
        let path = self.account_path("/instances?deleted=true");
        let listed = self.get(&path).await.expect(200);
        listed["results"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_deleted_instance_is_hidden_and_comes_back_as_it_was() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    let path = format!("/v1/instances/{id}");
    let shown = world.get(&path).await.expect(200);
    let security = world.security_token(&id).await;
    world.delete(&id).await;

    assert!(world.eds.has_put_away(&id) && world.eds.holds(&id));
    world.get(&path).await.expect(404);
    let listed = world.get(&world.account_path("/instances")).await;
    assert_eq!(listed.expect(200), json!({"results": []}));
    assert!(!world.knows(&security).await);
    for (method, path) in [
        ("PUT", path.clone()),
        ("GET", format!("{path}/authorizations")),
        ("POST", format!("{path}/authorizations")),
        ("DELETE", format!("{path}/authorizations/1")),
    ] {
        let body = json!({"name": "n"});
        world.call(method, &path, body).await.expect(404);
    }

    let mut expected = shown.clone();
    expected["deletedAt"] = "2015-03-18T09:00:00Z".into();
    expected["removedAt"] = "2015-03-25T09:00:00Z".into();
    assert_eq!(world.deleted().await, [expected]);

    let restored = world
        .call("POST", &format!("{path}/restore"), Value::Null)
        .await;
    assert_eq!(restored.expect(200), shown);
    assert!(!world.eds.has_put_away(&id) && world.eds.holds(&id));
    assert_eq!(world.get(&path).await.expect(200), shown);
    assert_eq!(world.security_token(&id).await, security);
    assert!(world.knows(&security).await);
    assert_eq!(world.deleted().await, Vec::<Value>::new());
}

#[tokio::test]
async fn restoring_what_is_not_deleted_says_so() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    let path = format!("/v1/instances/{id}/restore");
    let refused = world.call("POST", &path, Value::Null).await.expect(409);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("not deleted"), "{message}");
}

#[tokio::test]
async fn deleting_again_changes_nothing() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    world.delete(&id).await;
    world.clock.advance(DAY);
    world.delete(&id).await;
    assert_eq!(
        world.deleted().await[0]["deletedAt"],
        "2015-03-18T09:00:00Z"
    );
}

#[tokio::test]
async fn what_cannot_be_restored_any_more_is_gone() {
    let world = World::new().await;
    let (early, late) = (
        world.add_instance("eds").await.id,
        world.add_instance("eds").await.id,
    );
    world.delete(&early).await;
    world.clock.advance(DAY);
    world.delete(&late).await;
    world.clock.advance(6 * DAY - Duration::from_secs(1));
    world.platform.remove_expired_instances().await.unwrap();
    assert!(world.eds.holds(&early));

    world.clock.advance(Duration::from_secs(1));
    world.platform.remove_expired_instances().await.unwrap();
    assert!(!world.eds.holds(&early) && world.eds.holds(&late));
    let path = format!("/v1/instances/{early}/restore");
    world.call("POST", &path, Value::Null).await.expect(404);
    assert_eq!(world.deleted().await.len(), 1);
}

#[tokio::test]
async fn an_instance_that_cannot_be_removed_is_tried_again() {
    let world = World::new().await;
    let (stuck, other) = (
        world.add_instance("eds").await.id,
        world.add_instance("mws").await.id,
    );
    world.delete(&stuck).await;
    world.delete(&other).await;
    world.clock.advance(8 * DAY);
    world.eds.break_at(Step::Remove);
    world.platform.remove_expired_instances().await.unwrap();
    assert!(world.eds.holds(&stuck));
    // The other one did not wait for it.
    assert_eq!(world.deleted().await, Vec::<Value>::new());

    world.eds.break_at(None);
    world.platform.clear_unfinished().await.unwrap();
    assert!(!world.eds.holds(&stuck));
}

#[tokio::test]
async fn deleting_at_once_asks_for_no_patience() {
    let world = World::new().await;
    let (first, second) = (
        world.add_instance("eds").await.id,
        world.add_instance("eds").await.id,
    );
    let path = format!("/v1/instances/{first}?now=true");
    world.call("DELETE", &path, Value::Null).await.expect(200);
    assert!(!world.eds.holds(&first));
    // Also what was deleted before.
    world.delete(&second).await;
    let path = format!("/v1/instances/{second}?now=true");
    world.call("DELETE", &path, Value::Null).await.expect(200);
    assert!(!world.eds.holds(&second));
    assert_eq!(world.deleted().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_misspelt_wish_deletes_nothing() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    let path = format!("/v1/instances/{id}?now=yes");
    let refused = world.call("DELETE", &path, Value::Null).await.expect(422);
    assert_eq!(refused["errors"][0]["property"], "now");
    world.get(&format!("/v1/instances/{id}")).await.expect(200);
}

#[tokio::test]
async fn a_server_that_keeps_nothing_deletes_at_once() {
    let world = World::with_settings(Settings {
        deleted_instances_kept: Duration::ZERO,
        ..Settings::default()
    })
    .await;
    let id = world.add_instance("eds").await.id;
    world.delete(&id).await;
    assert!(!world.eds.holds(&id));
    assert_eq!(world.deleted().await, Vec::<Value>::new());
}

#[tokio::test]
async fn an_account_with_something_to_restore_stays_and_says_what_to_do() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    world.delete(&id).await;
    let path = world.account_path("");
    let refused = world.call("DELETE", &path, Value::Null).await.expect(409);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("1 deleted") && message.contains("?now=true"),
        "{message}"
    );
    let now = format!("/v1/instances/{id}?now=true");
    world.call("DELETE", &now, Value::Null).await.expect(200);
    world.call("DELETE", &path, Value::Null).await.expect(200);
}

#[tokio::test]
async fn what_can_be_restored_counts_as_an_instance() {
    let world = World::with_limits(crate::Limits {
        instances_per_account: 1,
        ..crate::Limits::default()
    })
    .await;
    let id = world.add_instance("eds").await.id;
    world.delete(&id).await;
    let body = json!({"name": "n", "serviceProviderId": "eds"});
    let path = world.account_path("/instances");
    let refused = world.call("POST", &path, body.clone()).await.expect(429);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("?now=true"), "{message}");
    let now = format!("/v1/instances/{id}?now=true");
    world.call("DELETE", &now, Value::Null).await.expect(200);
    world.call("POST", &path, body).await.expect(201);
}

#[tokio::test]
async fn viewers_and_strangers_neither_delete_nor_restore() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    let (viewer, _) = world.add_member(Role::Viewer).await;
    let id = world.add_instance("eds").await.id;
    world.delete(&id).await;
    let restore = format!("/v1/instances/{id}/restore");
    let now = format!("/v1/instances/{id}?now=true");
    for (token, status) in [(&viewer, 403), (&neighbour.token, 404)] {
        for (method, path) in [("POST", &restore), ("DELETE", &now)] {
            let answer = world.call_as(token, method, path, Value::Null).await;
            answer.expect(status);
        }
    }
    assert_eq!(world.deleted().await.len(), 1);
}

#[tokio::test]
async fn a_service_that_cannot_stop_is_told_again() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    let path = format!("/v1/instances/{id}");
    world.eds.break_at(Step::Suspend);
    world.call("DELETE", &path, Value::Null).await.expect(503);
    // Nobody is let in all the same.
    world.get(&path).await.expect(404);
    world.eds.break_at(None);
    world.delete(&id).await;
    assert!(world.eds.has_put_away(&id));
}

#[tokio::test]
async fn what_a_service_cannot_take_up_is_there_again_all_the_same() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    world.delete(&id).await;
    world.eds.break_at(Step::Resume);
    let path = format!("/v1/instances/{id}/restore");
    world.call("POST", &path, Value::Null).await.expect(200);
    world.get(&format!("/v1/instances/{id}")).await.expect(200);
}

/// Whoever is last decides, and the service was told the same.
#[tokio::test]
async fn deleting_and_restoring_at_the_same_time_ends_in_one_state() {
    let world = World::new().await;
    let caller = Caller::Person(world.person);
    for _ in 0..20 {
        let id = world.add_instance("eds").await.id;
        let mut both = JoinSet::new();
        for restores in [false, true, false, true] {
            let (platform, caller, id) = (world.platform.clone(), caller.clone(), id.clone());
            both.spawn(async move {
                match restores {
                    true => {
                        let restored = platform.restore_instance(&caller, &id).await;
                        if let Err(error) = restored {
                            assert_eq!(error.kind, Kind::Conflict);
                        }
                    }
                    false => {
                        let how = Removal::AfterGrace;
                        platform.remove_instance(&caller, &id, how).await.unwrap();
                    }
                }
            });
        }
        both.join_all().await;
        let is_there = world.directory.find_any(&id).await.unwrap().is_some();
        assert_eq!(world.eds.has_put_away(&id), !is_there);
    }
}

#[tokio::test]
async fn two_who_delete_at_once_both_succeed_and_nothing_is_left() {
    let world = World::new().await;
    let caller = Caller::Person(world.person);
    let id = world.add_instance("eds").await.id;
    let mut both = JoinSet::new();
    for how in [Removal::Now, Removal::AfterGrace, Removal::Now] {
        let (platform, caller, id) = (world.platform.clone(), caller.clone(), id.clone());
        both.spawn(async move { platform.remove_instance(&caller, &id, how).await });
    }
    for outcome in both.join_all().await {
        if let Err(error) = outcome {
            assert_eq!(error.kind, Kind::NotFound);
        }
    }
    assert!(!world.eds.holds(&id));
    assert_eq!(world.store.list_unfinished_instances().await.unwrap(), []);
}
