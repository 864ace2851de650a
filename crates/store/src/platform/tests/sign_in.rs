//! Identities and device codes, where two come at the same time.

use pilvi_model::{Kind, Timestamp};

use super::{MANY, World, now, person};
use crate::platform::{
    Admission, Decision, DeviceCodeBounds, DeviceCodeState, Holder, NewDeviceCode, NewIdentity,
    NewToken, Person, SignedOn,
};

fn identity(subject: &str) -> NewIdentity {
    NewIdentity {
        issuer: "https://id.example.org".to_owned(),
        subject: subject.to_owned(),
        label: None,
        at: now(),
    }
}

fn code(number: u8, user_code: &str) -> NewDeviceCode {
    NewDeviceCode {
        digest: [number; 32],
        user_code: user_code.to_owned(),
        client: "a program".to_owned(),
        peer: "192.0.2.1".parse().unwrap(),
        created_at: now(),
        expires_at: now().plus(std::time::Duration::from_secs(600)),
    }
}

const BOUNDS: DeviceCodeBounds = DeviceCodeBounds {
    total_max: 3,
    per_peer_max: 2,
};

#[tokio::test]
async fn two_browsers_that_come_back_together_make_one_person() {
    let world = World::new().await;
    let sign_on = || {
        let newcomer = Some(person("anna@example.org"));
        world
            .store
            .sign_on(identity("anna"), newcomer, Admission::Anybody, MANY)
    };
    let (one, other) = tokio::join!(sign_on(), sign_on());
    let outcomes = [one.unwrap(), other.unwrap()];
    let made = |outcome: &SignedOn| matches!(outcome, SignedOn::Made(_));
    assert_eq!(outcomes.iter().filter(|outcome| made(outcome)).count(), 1);
    let (SignedOn::Made(one) | SignedOn::Known(one)) = outcomes[0] else {
        panic!("{outcomes:?}")
    };
    let (SignedOn::Made(other) | SignedOn::Known(other)) = outcomes[1] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(one, other);
}

#[tokio::test]
async fn two_pages_that_unlink_together_leave_one_way_in() {
    let world = World::new().await;
    let link = |subject| {
        world
            .store
            .link_identity(world.person, identity(subject), MANY)
    };
    link("a").await.unwrap();
    link("b").await.unwrap();
    let linked = world.store.list_identities(world.person).await.unwrap();
    let unlink = |at: usize| world.store.unlink_identity(world.person, linked[at].id);
    let (one, other) = tokio::join!(unlink(0), unlink(1));
    let kinds = [one, other].map(|outcome| outcome.map_err(|error| error.kind));
    assert!(kinds.contains(&Ok(true)), "{kinds:?}");
    assert!(kinds.contains(&Err(Kind::Conflict)), "{kinds:?}");
    let left = world.store.list_identities(world.person).await.unwrap();
    assert_eq!(left.len(), 1, "what was refused has not happened");
}

#[tokio::test]
async fn an_address_that_was_never_proven_or_is_an_operators_links_nothing() {
    let world = World::new().await;
    world
        .store
        .insert_person(person("anna@example.org"))
        .await
        .unwrap();
    for (email, outcome) in [
        ("Anna@example.org", SignedOn::AddressUnverified),
        ("operator@localhost", SignedOn::OperatorsAddress),
    ] {
        let newcomer: Person = person(email);
        let signed_on =
            world
                .store
                .sign_on(identity(email), Some(newcomer), Admission::Anybody, MANY);
        assert_eq!(signed_on.await.unwrap(), outcome);
    }
    let nobody = world
        .store
        .sign_on(identity("x"), None, Admission::Anybody, MANY);
    assert_eq!(nobody.await.unwrap(), SignedOn::NoAddress);
}

#[tokio::test]
async fn codes_are_bounded_and_their_letters_belong_to_one() {
    let world = World::new().await;
    let add = |code| world.store.insert_device_code(code, BOUNDS);
    add(code(1, "BBBB-BBBB")).await.unwrap();
    let taken = add(code(2, "BBBB-BBBB")).await.unwrap_err();
    assert_eq!(taken.kind, Kind::Conflict);
    add(code(3, "CCCC-CCCC")).await.unwrap();
    let full = add(code(4, "DDDD-DDDD")).await.unwrap_err();
    assert_eq!(full.kind, Kind::OverLimit);
    let elsewhere = |number, letters| NewDeviceCode {
        peer: "192.0.2.2".parse().unwrap(),
        ..code(number, letters)
    };
    add(elsewhere(5, "DDDD-DDDD")).await.unwrap();
    let full = add(elsewhere(6, "FFFF-FFFF")).await.unwrap_err();
    assert_eq!(full.kind, Kind::OverLimit);
    // What is over makes room.
    let later = NewDeviceCode {
        created_at: now().plus(std::time::Duration::from_secs(600)),
        ..code(7, "BBBB-BBBB")
    };
    add(later).await.unwrap();
}

#[tokio::test]
async fn of_two_decisions_the_first_counts() {
    let world = World::new().await;
    world
        .store
        .insert_device_code(code(1, "BBBB-BBBB"), BOUNDS)
        .await
        .unwrap();
    let decide = |decision| {
        let letters = "BBBB-BBBB".to_owned();
        world
            .store
            .decide_device_code(letters, world.person, decision, now())
    };
    let (denied, approved) = tokio::join!(decide(Decision::Denied), decide(Decision::Approved));
    let decided = [denied.unwrap(), approved.unwrap()];
    assert_eq!(decided.iter().flatten().count(), 1);
    let state = world.store.find_device_code_state([1; 32], now()).await;
    let is_approved = matches!(state.unwrap(), DeviceCodeState::Approved { .. });
    assert_eq!(is_approved, decided[1].is_some());
}

#[tokio::test]
async fn a_code_is_worth_a_token_of_whoever_approved_it() {
    let world = World::new().await;
    world
        .store
        .insert_device_code(code(1, "BBBB-BBBB"), BOUNDS)
        .await
        .unwrap();
    let redeem = |at: Timestamp| {
        let token = NewToken {
            // Whatever it says, the code decides.
            holder: Holder::Instance("x".to_owned()),
            digest: [9; 32],
            generation: 0,
            name: None,
            created_at: at,
            expires_at: None,
        };
        world.store.redeem_device_code([1; 32], token, MANY)
    };
    assert!(redeem(now()).await.unwrap().is_none(), "nobody decided");
    let letters = "BBBB-BBBB".to_owned();
    let decided = world
        .store
        .decide_device_code(letters, world.person, Decision::Approved, now());
    decided.await.unwrap().unwrap();
    let late = now().plus(std::time::Duration::from_secs(600));
    assert!(redeem(late).await.unwrap().is_none(), "it is over");
    let (owner, token) = redeem(now()).await.unwrap().unwrap();
    assert_eq!(
        (owner, token.name.as_deref()),
        (world.person, Some("a program"))
    );
    let holder = world.store.find_token_holder([9; 32], now()).await.unwrap();
    assert_eq!(holder, Some(Holder::Person(world.person)));
    assert!(redeem(now()).await.unwrap().is_none(), "it is spent");
}
