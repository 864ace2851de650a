//! Signing in and mails, as somebody with bad intentions goes about them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Credential, World};

const TOKEN: &str = "/v1/auth/oauth2/token";

#[tokio::test]
async fn guesses_count_also_when_a_name_beside_it_signs_in() {
    let world = World::new("open").await;
    let nobody = Credential::Nothing;
    for (name, password) in [("anna b", "korvapuusti"), ("anna+b", "guess")] {
        let user = json!({"username": name, "password": password});
        world.post(&nobody, "/v1/users", user).await;
    }
    // A `+` is a space or itself, so this is a guess at one name and a login with another.
    let both = format!("{TOKEN}?grant_type=password&username=anna+b&password=guess");
    for _ in 0..30 {
        let answer = world.send(&nobody, "POST", &both, &Value::Null).await;
        answer.must_be(200);
    }
    let right = json!({"grant_type": "password", "username": "anna b", "password": "korvapuusti"});
    world
        .send(&nobody, "POST", TOKEN, &right)
        .await
        .must_be(429);
}

#[tokio::test]
async fn a_password_with_a_plus_is_no_failure() {
    let world = World::new("open").await;
    let nobody = Credential::Nothing;
    let user = json!({"username": "anna", "password": "a+b"});
    world.post(&nobody, "/v1/users", user).await;
    let login = format!("{TOKEN}?grant_type=password&username=anna&password=a+b");
    for _ in 0..30 {
        let answer = world.send(&nobody, "POST", &login, &Value::Null).await;
        answer.must_be(200);
    }
}

#[tokio::test]
async fn many_users_with_one_address_do_not_fill_its_letter_box() {
    let world = World::new("open").await;
    let nobody = Credential::Nothing;
    for number in 0..30 {
        let name = format!("user {number}");
        let address = ["anna@example.org", "Anna@Example.org"][number % 2];
        let user = json!({"username": name, "password": "x", "email": address});
        world.post(&nobody, "/v1/users", user).await;
        let reset = json!({"username": name});
        let path = "/v1/auth/password_reset";
        world.send(&nobody, "POST", path, &reset).await.must_be(200);
    }
    assert!(world.tasks.drain(Duration::from_secs(30)).await);
    let mails = std::fs::read_dir(world.folder.path().join("mail")).unwrap();
    assert_eq!(mails.count(), 10);
}
