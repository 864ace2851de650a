//! Instances, from creation to removal, also when something breaks in between.

use pilvi_core::Principal;
use pilvi_model::{Kind, Provider};
use serde_json::{Value, json};

use super::{Step, World};
use crate::{Caller, InstanceDraft};

#[tokio::test]
async fn an_instance_is_created_shown_changed_and_removed() {
    let world = World::new().await;
    let instances = world.account_path("/instances");
    let body = json!({"name": "todos", "serviceProviderId": "eds", "datacenterId": "eu-1"});
    let created = world.call("POST", &instances, body).await.expect(201);
    let id = created["id"].as_str().unwrap().to_owned();
    assert_eq!(
        created,
        json!({
            "id": id,
            "name": "todos",
            "tags": [],
            "serviceProviderId": "eds",
            "serviceProvider": {"id": "eds", "title": "Enginio Data Storage"},
            "datacenterId": "eu-1",
            "accountId": world.account.to_string(),
            "config": {},
            "createdAt": "2015-03-18T09:00:00Z",
        })
    );
    assert_eq!(id.len(), 24);
    assert!(world.eds.holds(&id));
    let path = format!("/v1/instances/{id}");
    assert_eq!(world.get(&path).await.expect(200), created);

    let change = json!({"name": "renamed", "tags": ["a", "b"]});
    let changed = world.call("PUT", &path, change).await.expect(200);
    assert_eq!(
        (&changed["name"], &changed["tags"]),
        (&json!("renamed"), &json!(["a", "b"]))
    );
    assert_eq!(world.get(&path).await.expect(200), changed);
    let partial = world
        .call("PUT", &path, json!({"tags": [], "name": null}))
        .await
        .expect(200);
    assert_eq!(
        (&partial["name"], &partial["tags"]),
        (&json!("renamed"), &json!([]))
    );
    world
        .call("PUT", &path, json!({"name": ""}))
        .await
        .expect(422);

    let security = world
        .get(&format!("{path}/authorizations"))
        .await
        .first_token();
    let now = format!("{path}?now=true");
    assert_eq!(
        world.call("DELETE", &now, Value::Null).await.expect(200),
        json!({})
    );
    assert!(!world.eds.holds(&id));
    world.get(&path).await.expect(404);
    world.call("DELETE", &path, Value::Null).await.expect(404);
    world.call("DELETE", &now, Value::Null).await.expect(404);
    world
        .get(&format!("{path}/authorizations"))
        .await
        .expect(404);
    world
        .call_as(&security, "GET", "/v1/user", Value::Null)
        .await
        .expect(401);
    assert_eq!(
        world.get(&instances).await.expect(200),
        json!({"results": []})
    );
}

#[tokio::test]
async fn every_body_of_the_old_clients_makes_an_instance() {
    let world = World::new().await;
    for (body, provider) in [
        (
            json!({"name": "n", "serviceProviderId": "eds", "datacenterId": "eu-1"}),
            "eds",
        ),
        (
            json!({"name": "n", "serviceProviderId": "mws", "datacenterId": "eu-1"}),
            "mws",
        ),
        (json!({"name": "n", "serviceProviderId": "mws"}), "mws"),
        (
            json!({"name": "n", "serviceProviderId": "EDS", "datacenterId": null, "config": null}),
            "eds",
        ),
        (
            json!({"name": "n", "serviceProviderId": "eds", "config": {"runtimeSize": "1"}}),
            "eds",
        ),
        (
            json!({"name": "ünïcödé", "serviceProviderId": "eds", "tags": ["t"], "unknown": 1}),
            "eds",
        ),
    ] {
        let created = world
            .call("POST", &world.account_path("/instances"), body.clone())
            .await;
        let created = created.expect(201);
        assert_eq!(created["serviceProviderId"], provider);
        assert_eq!(
            (&created["datacenterId"], &created["name"]),
            (&json!("eu-1"), &body["name"])
        );
    }
}

#[tokio::test]
async fn lists_can_be_narrowed_to_a_provider() {
    let world = World::new().await;
    let eds = world.add_instance("eds").await.id;
    let mws = world.add_instance("mws").await.id;
    for (query, ids) in [
        ("", vec![&eds, &mws]),
        ("?", vec![&eds, &mws]),
        ("?provider=", vec![&eds, &mws]),
        ("?provider=eds", vec![&eds]),
        ("?provider=MWS", vec![&mws]),
        ("?provider=mar", vec![]),
        ("?provider=mdb", vec![]),
        ("?provider=other", vec![]),
    ] {
        let answer = world
            .get(&world.account_path(&format!("/instances{query}")))
            .await
            .expect(200);
        let found: Vec<_> = answer["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| &i["id"])
            .collect();
        assert_eq!(found, ids, "{query}");
    }
}

#[tokio::test]
async fn the_directory_finds_an_instance_as_it_is_now() {
    let world = World::new().await;
    let id = world.add_instance("mws").await.id;
    let find = async |provider| world.directory.find(provider, &id).await.unwrap();
    assert_eq!(find(Provider::Mws).await.unwrap().name, "todos");
    assert!(find(Provider::Eds).await.is_none());

    world
        .call(
            "PUT",
            &format!("/v1/instances/{id}"),
            json!({"name": "new"}),
        )
        .await
        .expect(200);
    assert_eq!(find(Provider::Mws).await.unwrap().name, "new");

    let config = json!({"accessControl": {"type": "custom"}})
        .as_object()
        .unwrap()
        .clone();
    let configured = world
        .directory
        .configure(&id, Some("conf".into()), config.clone())
        .await
        .unwrap();
    assert_eq!(
        (configured.name.as_str(), &configured.config),
        ("conf", &config)
    );
    let configured = world
        .directory
        .configure(&id, None, config.clone())
        .await
        .unwrap();
    assert_eq!(configured.name, "conf");
    assert_eq!(find(Provider::Mws).await.unwrap().config, config);

    world
        .call("DELETE", &format!("/v1/instances/{id}"), Value::Null)
        .await
        .expect(200);
    assert!(find(Provider::Mws).await.is_none());
    let error = world
        .directory
        .configure(&id, None, config)
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
}

#[tokio::test]
async fn security_and_account_tokens_administer_an_instance() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    let (first, second) = (
        world.add_instance("eds").await,
        world.add_instance("eds").await,
    );
    let list = world
        .get(&format!("/v1/instances/{}/authorizations", first.id))
        .await;
    let (security, own) = (
        list.first_token(),
        world
            .get(&world.account_path("/authorizations"))
            .await
            .first_token(),
    );
    for (token, of_first, of_second) in [
        (security.as_str(), true, false),
        (&own, true, true),
        (&world.token, false, false),
        (&neighbour.account_token, false, false),
        ("", false, false),
    ] {
        let token = pilvi_base::Secret::new(token);
        assert_eq!(
            world.identity.administers(&token, &first).await.unwrap(),
            of_first
        );
        assert_eq!(
            world.identity.administers(&token, &second).await.unwrap(),
            of_second
        );
    }
    let holder = world
        .identity
        .authenticate(&pilvi_base::Secret::new(security))
        .await
        .unwrap();
    assert_eq!(holder, Some(Principal::Instance { id: first.id }));
}

#[tokio::test]
async fn an_instance_that_cannot_be_created_leaves_nothing() {
    let world = World::new().await;
    let body = json!({"name": "n", "serviceProviderId": "eds"});
    world.eds.break_at(Step::Create);
    let answer = world
        .call("POST", &world.account_path("/instances"), body.clone())
        .await
        .expect(503);
    assert_eq!(answer["error"]["message"], "the shelf is broken");
    assert_eq!(world.eds.len(), 0);
    assert_eq!(world.store.list_unfinished_instances().await.unwrap(), []);

    world.eds.break_at(None);
    world
        .call("POST", &world.account_path("/instances"), body)
        .await
        .expect(201);
    assert_eq!(world.eds.len(), 1);
}

#[tokio::test]
async fn what_could_not_be_undone_is_cleared_away_at_the_next_start() {
    let world = World::new().await;
    let body = json!({"name": "n", "serviceProviderId": "eds"});
    world.eds.break_at(Step::CreateAndRemove);
    world
        .call("POST", &world.account_path("/instances"), body)
        .await
        .expect(503);
    assert_eq!(world.eds.len(), 1);
    assert_eq!(
        world.get(&world.account_path("/instances")).await.body,
        json!({"results": []})
    );
    world
        .call("DELETE", &world.account_path(""), Value::Null)
        .await
        .expect(409);

    // A start during which the shelf is still broken leaves it for the one after.
    world.platform.clear_unfinished().await.unwrap();
    assert_eq!(world.eds.len(), 1);
    world.eds.break_at(None);
    world.platform.clear_unfinished().await.unwrap();
    assert_eq!(world.eds.len(), 0);
    world
        .call("DELETE", &world.account_path(""), Value::Null)
        .await
        .expect(200);
}

#[tokio::test]
async fn a_removal_that_failed_hides_the_instance_and_can_be_repeated() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    let id = world.add_instance("eds").await.id;
    let path = format!("/v1/instances/{id}");
    let now = format!("{path}?now=true");
    world.eds.break_at(Step::Remove);
    world.call("DELETE", &now, Value::Null).await.expect(503);
    assert!(world.eds.holds(&id));
    world.get(&path).await.expect(404);
    world
        .call_as(&neighbour.token, "DELETE", &path, Value::Null)
        .await
        .expect(404);

    world.eds.break_at(None);
    world.call("DELETE", &path, Value::Null).await.expect(200);
    assert!(!world.eds.holds(&id));
    assert_eq!(world.store.list_unfinished_instances().await.unwrap(), []);
}

#[tokio::test]
async fn a_creation_comes_to_its_end_although_the_client_hangs_up() {
    let world = World::new().await;
    let draft = InstanceDraft {
        name: "n".to_owned(),
        provider: "eds".to_owned(),
        ..InstanceDraft::default()
    };
    let caller = Caller::Person(world.person);
    let mut creation = Box::pin(
        world
            .platform
            .create_instance(&caller, world.account, draft),
    );
    // Asked until the work has begun, then dropped.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while world.platform.tasks.running() == 0 && tokio::time::Instant::now() < deadline {
        let asked = std::future::poll_fn(|context| {
            assert!(creation.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        });
        asked.await;
        tokio::task::yield_now().await;
    }
    drop(creation);
    assert!(
        world
            .platform
            .tasks
            .drain(std::time::Duration::from_secs(10))
            .await
    );
    let instances = world
        .store
        .list_instances(world.account, None)
        .await
        .unwrap();
    assert_eq!(instances.len(), 1);
    assert!(world.eds.holds(&instances[0].id));
}
