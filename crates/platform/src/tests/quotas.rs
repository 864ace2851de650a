//! What accounts may have, and what they have.

use pilvi_core::Resource;
use serde_json::{Value, json};

use super::{Step, World, error};

fn most(answer: &Value, name: &str) -> u64 {
    answer[name]["limit"].as_u64().expect("a limit is a number")
}

#[tokio::test]
async fn members_see_quotas_and_operators_set_them() {
    let world = World::new().await;
    world.add_instance("eds").await;
    world.add_instance("mws").await;
    let path = world.account_path("/quotas");
    let before = world.get(&path).await.expect(200);
    let instances = json!({"limit": 200, "used": 2, "default": true});
    assert_eq!(before["instances"], instances);
    assert_eq!(before["members"]["used"], 1);

    let asked = json!({"instances": 2, "sockets": 5});
    let set = world.call("PUT", &path, asked).await.expect(200);
    let instances = json!({"limit": 2, "used": 2, "default": false});
    assert_eq!(set["instances"], instances);
    assert_eq!(most(&set, "sockets"), 5);
    assert_eq!(set["edsStorageBytes"]["used"], 1000);
    assert_eq!(set["sockets"]["used"], 3);
    let create = json!({"name": "n", "serviceProviderId": "eds"});
    let instances = world.account_path("/instances");
    let refused = world
        .call("POST", &instances, create.clone())
        .await
        .expect(429);
    assert!(
        refused.to_string().contains("may have 2 instances"),
        "{refused}"
    );

    let back = world.call("PUT", &path, json!({"instances": null})).await;
    assert_eq!(most(&back.expect(200), "instances"), 200);
    world.call("POST", &instances, create).await.expect(201);
    let events = world.get(&world.account_path("/log")).await.expect(200);
    let event = &events["results"][2];
    assert_eq!(event["event"], "account.quotas", "{events}");
    assert_eq!(event["detail"], json!({"instances": 2, "sockets": 5}));
}

#[tokio::test]
async fn the_quota_of_members_counts_those_who_accept() {
    let world = World::new().await;
    let path = world.account_path("/quotas");
    let quota = async |most: Value| {
        let set = world.call("PUT", &path, json!({"members": most})).await;
        set.expect(200)
    };
    quota(json!(2)).await;
    let mut guests = Vec::new();
    for name in ["a", "b"] {
        let email = format!("{name}@example.org");
        world.invite(&email, "viewer").await;
        let (_, token) = world.add_guest(&email).await;
        guests.push((token, world.invitation_code(&email).await));
    }
    let [(first, first_code), (second, second_code)] = &guests[..] else {
        panic!("there are two");
    };
    world.accept(first, first_code).await.expect(201);
    let refused = world.accept(second, second_code).await.expect(429);
    assert!(refused.to_string().contains("2 members"), "{refused}");
    assert_eq!(quota(json!(3)).await["members"]["used"], 2);
    world.accept(second, second_code).await.expect(201);
}

#[tokio::test]
async fn nobody_gives_themselves_more() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    let theirs = format!("/v1/accounts/{}/quotas", neighbour.account);
    let asked = json!({"instances": 1000});
    let refused = world
        .call_as(&neighbour.token, "PUT", &theirs, asked.clone())
        .await;
    let refused = refused.expect(403).to_string();
    assert!(refused.contains("operator"), "{refused}");
    let own = world.account_path("/quotas");
    let hidden = world
        .call_as(&neighbour.token, "PUT", &own, asked.clone())
        .await;
    assert_eq!(
        hidden.expect(404),
        error("NotFound", "there is no such account")
    );
    // The operator is no member of it.
    let set = world.call("PUT", &theirs, asked).await.expect(200);
    assert_eq!(most(&set, "instances"), 1000);
    let seen = world
        .call_as(&neighbour.token, "GET", &theirs, Value::Null)
        .await;
    assert_eq!(most(&seen.expect(200), "instances"), 1000);
    assert_eq!(most(&world.get(&own).await.expect(200), "instances"), 200);
}

#[tokio::test]
async fn a_wrong_quota_changes_none() {
    let world = World::new().await;
    let path = world.account_path("/quotas");
    for wrong in [
        json!({"instances": 1, "sockets": -1}),
        json!({"instances": 1, "cakes": 1}),
    ] {
        let refused = world.call("PUT", &path, wrong).await.expect(422);
        assert_eq!(refused["errors"].as_array().unwrap().len(), 1, "{refused}");
    }
    world.call("PUT", &path, json!([1])).await.expect(400);
    assert_eq!(most(&world.get(&path).await.expect(200), "instances"), 200);
    let nobody = "/v1/accounts/46738209-a745-4841-8eeb-1ca0672aa6b8/quotas";
    world.get(nobody).await.expect(404);
    world
        .call("PUT", nobody, json!({"sockets": 1}))
        .await
        .expect(404);
}

#[tokio::test]
async fn usage_is_that_of_each_instance_and_their_sum() {
    let world = World::new().await;
    let backends = [
        world.add_instance("eds").await,
        world.add_instance("eds").await,
    ];
    let gateway = world.add_instance("mws").await;
    let sum = world.get(&world.account_path("/usage")).await.expect(200);
    assert_eq!(sum["storageBytes"], 2000);
    assert_eq!(sum["sockets"], 3);
    assert_eq!(sum["accountId"], world.account.to_string());
    assert_eq!(sum["results"].as_array().unwrap().len(), 3);
    let usage = world
        .get(&format!("/v1/instances/{}/usage", gateway.id))
        .await;
    let expected = json!({
        "instanceId": gateway.id, "serviceProviderId": "mws", "measuredAt": "2015-03-18T09:00:00Z",
        "sockets": 3
    });
    assert_eq!(usage.expect(200), expected);
    let path = format!("/v1/instances/{}", backends[0].id);
    world.call("DELETE", &path, Value::Null).await.expect(200);
    world.get(&format!("{path}/usage")).await.expect(404);
    let sum = world.get(&world.account_path("/usage")).await.expect(200);
    assert_eq!(sum["storageBytes"], 1000);
}

#[tokio::test]
async fn what_cannot_be_measured_hides_nothing_else() {
    let world = World::new().await;
    world.add_instance("eds").await;
    world.add_instance("mws").await;
    world.eds.break_at(Step::Measure);
    world.platform.measure_all().await.unwrap();
    let measured = world.platform.quotas.measured(world.account);
    assert_eq!(measured.of(Resource::Sockets), Some(3));
    assert_eq!(measured.of(Resource::EdsStorageBytes), None);
    let usage = world.get(&world.account_path("/usage")).await.expect(200);
    assert_eq!(usage["sockets"], 3);
}
