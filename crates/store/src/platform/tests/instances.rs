use pilvi_model::{AccountId, Instance, Kind, Provider};
use serde_json::json;

use super::{Holder, InstanceChange, InstanceState, MANY, World, now, token};

#[tokio::test]
async fn an_instance_is_seen_only_while_it_is_ready() {
    let world = World::new().await;
    let World { store, account, .. } = &world;
    let holder = Holder::Instance("backend".to_owned());
    let instance = world.instance("backend", Provider::Eds);
    let unseen = async || {
        let late = store.insert_token(token(holder.clone()), MANY).await;
        store.find_instance("backend").await.unwrap().is_none()
            && store
                .list_instances(*account, None)
                .await
                .unwrap()
                .is_empty()
            && store.list_tokens(holder.clone()).await.unwrap().is_empty()
            && store
                .update_instance("backend", InstanceChange::default())
                .await
                .unwrap()
                .is_none()
            && late.unwrap_err().kind == Kind::NotFound
    };
    let unfinished = async || store.list_unfinished_instances().await.unwrap();

    store.insert_instance(instance.clone(), MANY).await.unwrap();
    assert!(unseen().await);
    assert_eq!(
        unfinished().await,
        [(InstanceState::Creating, instance.clone())]
    );
    assert_eq!(store.find_instance_account("backend").await.unwrap(), None);

    let first = token(holder.clone());
    let digest = first.digest;
    assert!(store.release_instance("backend", first).await.unwrap());
    assert!(
        !store
            .release_instance("backend", token(holder.clone()))
            .await
            .unwrap()
    );
    assert_eq!(
        store.find_instance("backend").await.unwrap(),
        Some(instance.clone())
    );
    assert_eq!(
        store.find_token_holder(digest, now()).await.unwrap(),
        Some(holder.clone())
    );
    assert_eq!(unfinished().await, []);
    store.delete_instance("backend").await.unwrap();
    assert!(
        store.find_instance("backend").await.unwrap().is_some(),
        "it was not retired"
    );

    // Twice, because the first removal may not have come to its end.
    for _ in 0..2 {
        let retired = store.retire_instance("backend").await.unwrap();
        assert_eq!(retired, Some(instance.clone()));
        assert!(unseen().await);
        assert_eq!(store.find_token_holder(digest, now()).await.unwrap(), None);
        assert_eq!(
            unfinished().await,
            [(InstanceState::Removing, instance.clone())]
        );
        assert_eq!(
            store.find_instance_account("backend").await.unwrap(),
            Some(*account)
        );
    }
    store.delete_instance("backend").await.unwrap();
    assert_eq!(unfinished().await, []);
    assert_eq!(store.retire_instance("backend").await.unwrap(), None);
}

#[tokio::test]
async fn a_change_changes_what_it_names() {
    let world = World::new().await;
    let before = world.add_instance("gateway", Provider::Mws).await;
    let change = |change| world.store.update_instance("gateway", change);

    let renamed = change(InstanceChange {
        name: Some("new".to_owned()),
        ..InstanceChange::default()
    });
    let expected = Instance {
        name: "new".to_owned(),
        ..before
    };
    assert_eq!(renamed.await.unwrap(), Some(expected.clone()));

    let config = json!({"accessControl": {"type": "custom"}, "ä": [1, null]});
    let config = config.as_object().unwrap().clone();
    let changed = change(InstanceChange {
        tags: Some(vec!["x".to_owned(), "\"y\"".to_owned()]),
        config: Some(config.clone()),
        ..InstanceChange::default()
    });
    let tags = vec!["x".to_owned(), "\"y\"".to_owned()];
    let expected = Instance {
        tags,
        config,
        ..expected
    };
    assert_eq!(changed.await.unwrap(), Some(expected.clone()));
    assert_eq!(
        world.store.find_instance("gateway").await.unwrap(),
        Some(expected)
    );
    assert_eq!(
        world
            .store
            .update_instance("other", InstanceChange::default())
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn instances_are_listed_by_provider() {
    let world = World::new().await;
    world.add_instance("b-eds", Provider::Eds).await;
    world.add_instance("a-mws", Provider::Mws).await;
    let ids = async |provider| {
        let found = world
            .store
            .list_instances(world.account, provider)
            .await
            .unwrap();
        found
            .into_iter()
            .map(|instance| instance.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(None).await, ["a-mws", "b-eds"]);
    assert_eq!(ids(Some(Provider::Eds)).await, ["b-eds"]);
    assert_eq!(ids(Some(Provider::Mar)).await, Vec::<String>::new());
    assert_eq!(
        world
            .store
            .list_instances(AccountId::random(), None)
            .await
            .unwrap(),
        []
    );
}
