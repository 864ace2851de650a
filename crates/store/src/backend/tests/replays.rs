//! What becomes of deliveries that failed, and of those that are sent again.

use super::super::{Letter, Replay, Replayed};
use super::*;

const DAY: u64 = 24 * 60 * 60 * 1000;

async fn heard(world: &World) -> WebhookId {
    let hook = webhook(1, None, None);
    let id = hook.id;
    world.backend.insert_webhook(hook).await.unwrap();
    id
}

/// Gives up everything that is due.
async fn fail(world: &World, hook: WebhookId, millis: u64) -> usize {
    let due = world.backend.due_deliveries(hook, at(millis), 1000).await;
    let outcomes: Vec<Outcome> = due
        .unwrap()
        .iter()
        .map(|delivery| outcome(delivery, millis, None, Some("no")))
        .collect();
    let count = outcomes.len();
    world.backend.settle_deliveries(outcomes).await.unwrap();
    count
}

/// Writes so often that what is old is looked for, and delivers it.
async fn let_pass(world: &World, hook: WebhookId, millis: u64) {
    let_pass_undelivered(world, millis).await;
    let due = world.backend.due_deliveries(hook, at(millis), 1000).await;
    let outcomes: Vec<Outcome> = due
        .unwrap()
        .iter()
        .map(|delivery| outcome(delivery, millis, None, None))
        .collect();
    world.backend.settle_deliveries(outcomes).await.unwrap();
}

async fn let_pass_undelivered(world: &World, millis: u64) {
    let nothing = Properties::from_json(json!({})).unwrap();
    for _ in 0..128 {
        let id = ObjectId::from_bytes(pilvi_base::secret::random_bytes());
        let other = Object::create(id, todos(), at(millis), &nothing);
        world
            .backend
            .insert_object(other, origin(millis))
            .await
            .unwrap();
    }
}

async fn letter(world: &World, hook: WebhookId, outbox: u64) -> Option<Letter> {
    let found = world.backend.find_delivery(hook, outbox).await.unwrap();
    found.expect("it is in the log").1
}

#[tokio::test]
async fn what_failed_is_kept_longer_than_the_outbox_and_sent_again_with_its_id() {
    let world = world().await;
    let hook = heard(&world).await;
    let first = world
        .backend
        .insert_object(object(1, json!({"said": "once"})), origin(0))
        .await
        .unwrap()
        .object;
    assert_eq!(fail(&world, hook, 1).await, 1);
    let_pass(&world, hook, 4 * DAY).await;
    assert_eq!(
        letter(&world, hook, 1).await.unwrap().document,
        first.text,
        "the outbox has forgotten it"
    );

    let replayed = world.backend.replay_delivery(hook, 1, at(4 * DAY)).await;
    assert_eq!(replayed.unwrap(), Replay::Queued);
    let due = world
        .backend
        .due_deliveries(hook, at(4 * DAY), 10)
        .await
        .unwrap();
    let [again] = &due[..] else {
        panic!("one delivery is due: {due:?}")
    };
    assert_eq!(again.id(), format!("{hook}-1"));
    assert_eq!((again.attempts, again.attempts_in_turn), (1, 0));
    assert_eq!(again.document, first.text);
    // While it waits the outbox forgets more, which is none of its business.
    let_pass_undelivered(&world, 8 * DAY).await;
    let due = world
        .backend
        .due_deliveries(hook, at(8 * DAY), 1)
        .await
        .unwrap();
    assert_eq!(due[0].outbox, 1);
    let taken = outcome(&due[0], 8 * DAY, None, None);
    world.backend.settle_deliveries(vec![taken]).await.unwrap();
    let (delivery, letter) = world.backend.find_delivery(hook, 1).await.unwrap().unwrap();
    assert_eq!(
        (delivery.state, delivery.attempts),
        (DeliveryState::Delivered, 2)
    );
    assert_eq!(delivery.took, Some(Duration::from_millis(7)));
    assert_eq!(delivery.answer.as_deref(), Some("so it was"));
    assert!(delivery.request.is_some());
    assert!(letter.is_none(), "what was delivered is not kept");
}

#[tokio::test]
async fn what_the_outbox_gives_up_can_be_sent_again() {
    let world = world().await;
    let hook = heard(&world).await;
    world
        .backend
        .insert_object(object(1, json!({"said": "once"})), origin(0))
        .await
        .unwrap();
    let_pass_undelivered(&world, 4 * DAY).await;
    let (delivery, letter) = world.backend.find_delivery(hook, 1).await.unwrap().unwrap();
    assert_eq!(delivery.state, DeliveryState::Failed);
    assert!(letter.unwrap().document.contains("once"));
    let replayed = world
        .backend
        .replay_failed(hook, at(4 * DAY), 1000)
        .await
        .unwrap();
    assert_eq!(replayed, Replayed { queued: 1, left: 0 });
}

#[tokio::test]
async fn all_that_failed_goes_again_in_its_order_and_some_of_it_at_a_time() {
    let world = world().await;
    let hook = heard(&world).await;
    let first = world
        .backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap()
        .object;
    for number in 1..5 {
        update(&world.backend, &first, json!({"x": number}), number).await;
    }
    assert_eq!(fail(&world, hook, 10).await, 5);
    let failed = world
        .backend
        .list_deliveries(hook, Some(DeliveryState::Failed), Page::default())
        .await
        .unwrap();
    assert_eq!(failed.len(), 5);
    for state in [DeliveryState::Pending, DeliveryState::Delivered] {
        let others = world
            .backend
            .list_deliveries(hook, Some(state), Page::default())
            .await;
        assert!(others.unwrap().is_empty());
    }
    // Younger than all of them, and due before they are sent again.
    update(&world.backend, &first, json!({"x": 9}), 11).await;
    let replayed = world.backend.replay_failed(hook, at(20), 3).await.unwrap();
    assert_eq!(replayed, Replayed { queued: 3, left: 2 });
    let due = world
        .backend
        .due_deliveries(hook, at(20), 10)
        .await
        .unwrap();
    let order: Vec<u64> = due.iter().map(|delivery| delivery.outbox).collect();
    assert_eq!(order, [1, 2, 3, 6]);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_sent_again() {
    let world = world().await;
    let hook = heard(&world).await;
    let missing = world.backend.replay_delivery(hook, 1, at(0)).await.unwrap();
    assert_eq!(missing, Replay::Missing);
    world
        .backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap();
    let due = world.backend.due_deliveries(hook, at(1), 10).await.unwrap();
    let taken = outcome(&due[0], 1, None, None);
    world.backend.settle_deliveries(vec![taken]).await.unwrap();
    let_pass(&world, hook, 4 * DAY).await;
    let forgotten = world.backend.replay_delivery(hook, 1, at(4 * DAY)).await;
    assert_eq!(forgotten.unwrap(), Replay::Forgotten);
}

#[tokio::test]
async fn letters_are_forgotten_after_a_month() {
    let world = world().await;
    let hook = heard(&world).await;
    world
        .backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap();
    fail(&world, hook, 1).await;
    let_pass(&world, hook, 29 * DAY).await;
    assert!(letter(&world, hook, 1).await.is_some());
    let replayed = world.backend.replay_delivery(hook, 1, at(29 * DAY)).await;
    assert_eq!(replayed.unwrap(), Replay::Queued);
    // It is never told that way, and the letter goes all the same: nothing is kept without end.
    let_pass_undelivered(&world, 31 * DAY).await;
    assert!(letter(&world, hook, 1).await.is_none());
    let (delivery, _) = world.backend.find_delivery(hook, 1).await.unwrap().unwrap();
    assert_eq!(delivery.state, DeliveryState::Failed);
}

#[tokio::test]
async fn many_deliveries_push_no_failed_one_out_of_the_log() {
    let world = world().await;
    let hook = heard(&world).await;
    world
        .backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap();
    fail(&world, hook, 1).await;
    for round in 0..9 {
        let_pass(&world, hook, 10 + round).await;
    }
    let page = |offset| Page {
        limit: 1000,
        offset,
    };
    let delivered = world
        .backend
        .list_deliveries(hook, Some(DeliveryState::Delivered), page(1000))
        .await
        .unwrap();
    assert!(delivered.len() <= 128, "{}", delivered.len());
    assert!(letter(&world, hook, 1).await.is_some());
}

#[tokio::test]
async fn a_webhook_that_is_switched_off_is_told_nothing() {
    let world = world().await;
    let hook = heard(&world).await;
    let off = StoredWebhook {
        enabled: false,
        ..webhook(1, None, None)
    };
    assert!(world.backend.update_webhook(off).await.unwrap());
    let written = world
        .backend
        .insert_object(object(1, json!({})), origin(0))
        .await
        .unwrap();
    assert!(written.webhooks.is_empty());
    let log = world
        .backend
        .list_deliveries(hook, None, Page::default())
        .await;
    assert!(log.unwrap().is_empty());
}

#[tokio::test]
async fn of_two_who_change_the_secret_at_once_one_is_told() {
    let world = world().await;
    let hook = heard(&world).await;
    let change = |old: Option<&[u8]>, new: u8| {
        world
            .backend
            .replace_signing(hook, old.map(<[u8]>::to_vec), vec![new], at(1))
    };
    assert!(change(None, 1).await.unwrap());
    assert!(!change(None, 2).await.unwrap());
    assert!(change(Some(&[1]), 3).await.unwrap());
    let stored = world.backend.find_webhook(hook).await.unwrap().unwrap();
    assert_eq!(stored.sealed_signing, Some(vec![3]));
}
