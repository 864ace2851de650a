use pilvi_model::{Kind, PersonId};

use super::{MANY, World, now, person};
use crate::platform::NewSshKey;

fn key(person: PersonId, name: &str) -> NewSshKey {
    NewSshKey {
        person,
        name: name.to_owned(),
        key: format!("ssh-ed25519 {name}"),
        fingerprint: format!("SHA256:{name}"),
        created_at: now(),
    }
}

#[tokio::test]
async fn a_key_leads_to_its_person_until_it_is_deleted() {
    let world = World::new().await;
    let store = &world.store;
    let first = store
        .insert_ssh_key(key(world.person, "laptop"), MANY)
        .await
        .unwrap();
    let second = store
        .insert_ssh_key(key(world.person, "desk"), MANY)
        .await
        .unwrap();
    assert_eq!(
        store.list_ssh_keys(world.person).await.unwrap(),
        [first.clone(), second]
    );
    let holder = store
        .find_ssh_key_holder("SHA256:laptop".to_owned())
        .await
        .unwrap();
    assert_eq!(holder.unwrap().id, world.person);

    assert!(store.delete_ssh_key(world.person, first.id).await.unwrap());
    assert!(!store.delete_ssh_key(world.person, first.id).await.unwrap());
    assert_eq!(
        store
            .find_ssh_key_holder("SHA256:laptop".to_owned())
            .await
            .unwrap(),
        None
    );
    // A late removal does not hit the next key.
    let third = store
        .insert_ssh_key(key(world.person, "laptop"), MANY)
        .await
        .unwrap();
    assert_ne!(third.id, first.id);
}

#[tokio::test]
async fn a_key_belongs_to_one_person_and_a_name_to_one_key() {
    let world = World::new().await;
    let other = person("other@localhost");
    world.store.insert_person(other.clone()).await.unwrap();
    let added = world
        .store
        .insert_ssh_key(key(world.person, "laptop"), MANY)
        .await
        .unwrap();
    let again = world
        .store
        .insert_ssh_key(key(other.id, "laptop"), MANY)
        .await
        .unwrap_err();
    assert_eq!(again.kind, Kind::Conflict);
    let renamed = NewSshKey {
        fingerprint: "SHA256:new".to_owned(),
        ..key(world.person, "laptop")
    };
    let same_name = world
        .store
        .insert_ssh_key(renamed.clone(), MANY)
        .await
        .unwrap_err();
    assert_eq!(same_name.kind, Kind::Conflict);
    let others = NewSshKey {
        person: other.id,
        ..renamed
    };
    world.store.insert_ssh_key(others, MANY).await.unwrap();
    // Nobody removes another's key.
    assert!(
        !world
            .store
            .delete_ssh_key(other.id, added.id)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_person_has_a_bounded_number_of_keys() {
    let world = World::new().await;
    let insert = |name| world.store.insert_ssh_key(key(world.person, name), 1);
    insert("first").await.unwrap();
    assert_eq!(insert("second").await.unwrap_err().kind, Kind::OverLimit);
}
