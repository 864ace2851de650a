use pilvi_model::{Kind, Provider};

use super::{Holder, MANY, World, person, token};
use crate::platform::Role;

#[tokio::test]
async fn a_stranger_finds_no_account() {
    let World { store, account, .. } = &World::new().await;
    let stranger = person("stranger@localhost");
    let id = stranger.id;
    store.insert_person(stranger).await.unwrap();
    let holder = Holder::Member {
        account: *account,
        person: id,
    };
    assert_eq!(store.find_account_of(id, *account).await.unwrap(), None);
    for error in [
        store.find_member_token(*account, id).await.unwrap_err(),
        store
            .insert_member_token(*account, id, token(holder))
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind, Kind::NotFound);
    }
}

#[tokio::test]
async fn an_account_goes_only_when_it_is_empty() {
    let world = World::new().await;
    let World {
        store,
        person,
        account,
        ..
    } = &world;
    let unready = world.instance("backend", Provider::Eds);
    store.insert_instance(unready.clone(), MANY).await.unwrap();
    assert_eq!(
        store.delete_account(*account).await.unwrap_err().kind,
        Kind::Conflict
    );
    assert!(
        store
            .find_member_token(*account, *person)
            .await
            .unwrap()
            .is_some()
    );

    store.retire_instance("backend").await.unwrap();
    store.delete_instance("backend").await.unwrap();
    assert!(store.delete_account(*account).await.unwrap());
    assert!(!store.delete_account(*account).await.unwrap());
    assert_eq!(store.list_accounts(*person).await.unwrap(), []);
    assert_eq!(store.list_tokens(world.member()).await.unwrap(), []);
    let error = store.insert_instance(unready, MANY).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
}

#[tokio::test]
async fn a_member_has_a_role_from_then_on() {
    let World { store, account, .. } = &World::new().await;
    for (email, role) in [
        ("o@localhost", Role::Owner),
        ("d@localhost", Role::Developer),
        ("v@localhost", Role::Viewer),
    ] {
        let somebody = person(email);
        let id = somebody.id;
        store.insert_person(somebody).await.unwrap();
        assert_eq!(store.find_role(*account, id).await.unwrap(), None);
        store.insert_member(*account, id, role).await.unwrap();
        for _ in 0..2 {
            assert_eq!(store.find_role(*account, id).await.unwrap(), Some(role));
        }
        let again = store.insert_member(*account, id, Role::Owner).await;
        assert_eq!(again.unwrap_err().kind, Kind::Conflict);
        assert_eq!(store.find_role(*account, id).await.unwrap(), Some(role));
    }
}
