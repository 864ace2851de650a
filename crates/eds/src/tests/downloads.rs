//! How long the addresses of files are good.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Credential, World, path_of};

const NOBODY: Credential = Credential::Nothing;

impl World {
    async fn download(&self, url: &str) -> Answer {
        let path = url.strip_prefix("http://localhost:8080").unwrap();
        self.send(&NOBODY, "GET", path, &Value::Null).await
    }
}

#[tokio::test]
async fn an_address_is_good_for_an_hour_and_then_says_that_it_has_expired() {
    let world = World::new("open").await;
    let photo = world
        .post(&NOBODY, "/v1/objects/photos", json!({"title": "A"}))
        .await;
    let file = world.upload(&NOBODY, &photo, "file", b"[1, 2]").await;
    let url = file["url"].as_str().unwrap();
    assert_eq!(world.download(url).await.must_be(200), json!([1, 2]));
    let path = format!("{}/download_url", path_of(&file));
    let asked = world.send(&NOBODY, "GET", &path, &Value::Null).await;
    let asked = asked.must_be(200);
    assert_eq!(asked["expiringUrl"], url);
    // Its end is at full five minutes, after an hour at the earliest.
    assert_eq!(asked["expiresAt"], "2015-03-18T10:05:00.000Z");

    world.clock.advance(Duration::from_secs(60 * 60));
    assert_eq!(world.download(url).await.must_be(200), json!([1, 2]));
    world.clock.advance(Duration::from_secs(5 * 60));
    let refusal = world.download(url).await.must_be(410);
    assert_eq!(refusal["errors"][0]["reason"], "Expired");
    let message = refusal["errors"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("GET /v1/files/{id}/download_url"),
        "{message}"
    );
    // The file is still there, under a new address.
    let asked = world.send(&NOBODY, "GET", &path, &Value::Null).await;
    let fresh = asked.must_be(200)["expiringUrl"].clone();
    let fresh = fresh.as_str().unwrap();
    assert_ne!(fresh, url);
    assert_eq!(world.download(fresh).await.must_be(200), json!([1, 2]));
}
