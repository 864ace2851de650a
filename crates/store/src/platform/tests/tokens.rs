use pilvi_model::Provider;

use super::{Holder, MANY, World, now, token};
use crate::platform::Token;

#[tokio::test]
async fn a_token_leads_to_its_holder_until_it_is_deleted() {
    let world = World::new().await;
    world.add_instance("backend", Provider::Eds).await;
    for holder in [
        Holder::Person(world.person),
        Holder::Instance("backend".to_owned()),
    ] {
        let token = token(holder.clone());
        let digest = token.digest;
        let added = world.store.insert_token(token, MANY).await.unwrap();
        assert_eq!(
            world.store.find_token_holder(digest, now()).await.unwrap(),
            Some(holder.clone())
        );
        // Only of those of persons it is known when they were used.
        let used_at = matches!(holder, Holder::Person(_)).then(now);
        let used = Token {
            used_at,
            ..added.clone()
        };
        assert!(
            world
                .store
                .list_tokens(holder.clone())
                .await
                .unwrap()
                .contains(&used)
        );

        assert!(
            world
                .store
                .delete_token(holder.clone(), added.id)
                .await
                .unwrap()
        );
        assert!(
            !world
                .store
                .delete_token(holder.clone(), added.id)
                .await
                .unwrap()
        );
        assert_eq!(
            world.store.find_token_holder(digest, now()).await.unwrap(),
            None
        );
        assert!(
            !world
                .store
                .list_tokens(holder)
                .await
                .unwrap()
                .contains(&added)
        );
    }
}

#[tokio::test]
async fn the_number_of_a_token_is_never_used_again() {
    let world = World::new().await;
    let holder = Holder::Person(world.person);
    let first = world
        .store
        .insert_token(token(holder.clone()), MANY)
        .await
        .unwrap();
    assert!(
        world
            .store
            .delete_token(holder.clone(), first.id)
            .await
            .unwrap()
    );
    let second = world.store.insert_token(token(holder), MANY).await.unwrap();
    assert!(second.id > first.id);
}

#[tokio::test]
async fn nobody_deletes_the_token_of_another_holder() {
    let world = World::new().await;
    world.add_instance("backend", Provider::Eds).await;
    let holders = [
        Holder::Person(world.person),
        world.member(),
        Holder::Instance("backend".to_owned()),
    ];
    for owner in &holders {
        let id = world.store.list_tokens(owner.clone()).await.unwrap()[0].id;
        for other in holders.iter().filter(|other| *other != owner) {
            assert!(!world.store.delete_token(other.clone(), id).await.unwrap());
        }
        assert_eq!(
            world.store.list_tokens(owner.clone()).await.unwrap().len(),
            1
        );
    }
}

#[tokio::test]
async fn a_member_has_at_most_one_account_token() {
    let World {
        store,
        person,
        account,
        ..
    } = &World::new().await;
    let holder = Holder::Member {
        account: *account,
        person: *person,
    };
    let present = store
        .find_member_token(*account, *person)
        .await
        .unwrap()
        .unwrap();
    let kept = store
        .insert_member_token(*account, *person, token(holder.clone()))
        .await
        .unwrap();
    assert_eq!(kept, (present.clone(), false));

    assert!(
        store
            .delete_token(holder.clone(), present.id)
            .await
            .unwrap()
    );
    assert_eq!(
        store.find_member_token(*account, *person).await.unwrap(),
        None
    );
    let (made, new) = store
        .insert_member_token(*account, *person, token(holder))
        .await
        .unwrap();
    assert!(new && made.id != present.id);
    assert_eq!(
        store.find_member_token(*account, *person).await.unwrap(),
        Some(made)
    );
}
