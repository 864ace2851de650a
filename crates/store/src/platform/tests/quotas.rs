//! Quotas are kept in the transaction that adds something.

use pilvi_model::app::StackName;
use pilvi_model::{AppId, Kind, Provider};

use super::*;
use crate::platform::{Quotas, Resource};

#[tokio::test]
async fn what_nobody_set_is_as_the_defaults_say() {
    let World {
        store,
        account,
        folder: _folder,
        ..
    } = World::new().await;
    let defaults = Quotas::default();
    assert_eq!(store.quotas(account, defaults).await.unwrap(), defaults);
    let changes = vec![
        (Resource::Sockets, Some(5)),
        (Resource::Members, Some(u64::MAX)),
    ];
    assert!(store.set_quotas(account, changes).await.unwrap());
    let set = store.quotas(account, defaults).await.unwrap();
    assert_eq!(set.most(Resource::Sockets), 5);
    assert_eq!(set.most(Resource::Members), i64::MAX as u64);
    assert_eq!(
        set.most(Resource::Instances),
        defaults.most(Resource::Instances)
    );
    let back = vec![(Resource::Sockets, None), (Resource::Members, None)];
    assert!(store.set_quotas(account, back).await.unwrap());
    assert_eq!(store.quotas(account, defaults).await.unwrap(), defaults);
    let nobody = store.set_quotas(AccountId::random(), vec![(Resource::Sockets, Some(5))]);
    assert!(!nobody.await.unwrap());
}

#[tokio::test]
async fn an_accounts_own_quota_of_instances_goes_before_the_default() {
    let world = World::new().await;
    let quota = |most| {
        world
            .store
            .set_quotas(world.account, vec![(Resource::Instances, most)])
    };
    quota(Some(1)).await.unwrap();
    world
        .add_instance("532831a2698b3c6ae8091d61", Provider::Eds)
        .await;
    let second = world.instance("532831a2698b3c6ae8091d62", Provider::Eds);
    let add = || world.store.insert_instance(second.clone(), 1);
    assert_eq!(add().await.unwrap_err().kind, Kind::OverLimit);
    quota(Some(2)).await.unwrap();
    add().await.unwrap();
    let counted = world.store.count_rows_of(world.account).await.unwrap();
    assert_eq!((counted.instances, counted.members), (2, 1));
}

#[tokio::test]
async fn of_many_who_race_for_the_last_instances_no_more_win_than_may() {
    let world = World::new().await;
    let mut racers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let instance = world.instance(&format!("532831a2698b3c6ae8091d{number:02}"), Provider::Eds);
        let store = world.store.clone();
        racers.spawn(async move { store.insert_instance(instance, 3).await.is_ok() });
    }
    let won = racers.join_all().await;
    assert_eq!(won.into_iter().filter(|won| *won).count(), 3);
}

#[tokio::test]
async fn the_memory_of_all_apps_is_counted_together() {
    const MB_256: u64 = 256 << 20;
    let world = World::new().await;
    let store = &world.store;
    let apps: [AppId; 2] = ["mar-eu-1-aaaaaaaa", "mar-eu-1-bbbbbbbb"].map(|id| id.parse().unwrap());
    for (app, size) in apps.iter().zip([2, 4]) {
        world.add_instance(app.as_str(), Provider::Mar).await;
        let size = pilvi_model::app::Size::of_units(size).unwrap();
        store
            .insert_app(app, size, &StackName::default())
            .await
            .unwrap();
    }
    // An app without a process is about to have one.
    let counted = store.count_rows_of(world.account).await.unwrap();
    assert_eq!(counted.app_memory_bytes, 6 * MB_256);
    store.check_app_memory(&apps[0], 6 * MB_256).await.unwrap();
    let refused = store
        .check_app_memory(&apps[0], 5 * MB_256)
        .await
        .unwrap_err();
    assert_eq!(refused.kind, Kind::OverLimit);
    assert!(refused.message.contains("1280 MB"), "{refused:?}");
    let more = vec![(Resource::AppMemoryBytes, Some(6 * MB_256))];
    store.set_quotas(world.account, more).await.unwrap();
    store.check_app_memory(&apps[0], 5 * MB_256).await.unwrap();
}

#[tokio::test]
async fn quotas_go_with_their_account() {
    let world = World::new().await;
    let set = vec![(Resource::Sockets, Some(5))];
    world.store.set_quotas(world.account, set).await.unwrap();
    assert!(world.store.delete_account(world.account).await.unwrap());
    let defaults = Quotas::default();
    assert_eq!(
        world.store.quotas(world.account, defaults).await.unwrap(),
        defaults
    );
}

#[tokio::test]
async fn accounts_come_in_pages() {
    let world = World::new().await;
    let first = world.store.page_accounts(None, 1).await.unwrap();
    assert_eq!(first, [world.account]);
    let rest = world
        .store
        .page_accounts(Some(world.account), 1)
        .await
        .unwrap();
    assert!(rest.is_empty());
}
