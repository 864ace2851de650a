//! Slugs and releases.

use std::time::Duration;

use axum::body::Body;
use pilvi_core::{Resource, Usage};
use pilvi_model::{AccountId, Kind};
use serde_json::{Value, json};

use super::{APP, FOREIGN, World, packed};
use crate::{Limits, upload};

impl World {
    /// Announces a slug; the path and query of the address for its bytes.
    async fn announce(&self, tag: &str, process_types: Value) -> String {
        let body = json!({"tag": tag, "process_types": process_types});
        let announced = self.call("POST", "/slugs", body).await.must_be(201);
        assert_eq!(announced["tag"], tag);
        let url = announced["blob"]["url"].as_str().unwrap();
        url.strip_prefix("http://mar.localhost:8080")
            .unwrap()
            .to_owned()
    }

    /// As the classic command line does it: without a token.
    async fn upload(&self, place: &str, bytes: Vec<u8>) -> super::Answer {
        self.send("", "PUT", place, Body::from(bytes)).await
    }

    async fn tags(&self) -> Vec<String> {
        let slugs = self.get("/slugs/").await.must_be(200);
        let slugs = slugs["results"].as_array().unwrap().iter();
        slugs
            .map(|slug| slug["tag"].as_str().unwrap().to_owned())
            .collect()
    }

    fn slug_files(&self) -> Vec<String> {
        let folder = self.mar.parts().folders.slugs(&self.app());
        let names = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn slug() -> Vec<u8> {
    packed(&[
        ("Procfile", "web: ./run\nworker: ./work"),
        ("run", "#!/bin/sh"),
    ])
}

#[tokio::test]
async fn an_account_whose_part_of_the_disk_is_full_uploads_nothing_until_it_removes_something() {
    let world = World::new().await;
    let account = world.mar.app(&world.app()).await.unwrap().account;
    let quotas = &world.mar.0.quotas;
    let most = vec![(Resource::AppDiskBytes, Some(10 << 20))];
    assert!(quotas.set(account, most).await.unwrap());
    let place = world.announce("v1", json!({"web": "./run"})).await;
    let takes = |bytes| Usage {
        disk_bytes: Some(bytes),
        ..Usage::default()
    };
    quotas.note(account, takes(10 << 20));
    let announce = json!({"tag": "v2", "process_types": {"web": "./run"}});
    let refused = world.call("POST", "/slugs", announce.clone()).await;
    let refused = refused.must_be(429).to_string();
    assert!(refused.contains("its quota is 10 MB"), "{refused}");
    // Nor what was announced when there was room.
    world.upload(&place, slug()).await.must_be(429);
    quotas.note(account, takes(9 << 20));
    world.upload(&place, slug()).await.must_be(200);
    world.call("POST", "/slugs", announce).await.must_be(201);
}

#[tokio::test]
async fn a_slug_is_announced_uploaded_and_deployed() {
    let world = World::new().await;
    let place = world.announce("v1.2", json!({"web": "./run"})).await;
    let early = world
        .call("POST", "/slugs/v1.2/deploy", json!({}))
        .await
        .must_be(422);
    assert!(
        early["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("have not arrived"),
        "{early}"
    );

    world.upload(&place, slug()).await.must_be(200);
    let listed = world.get("/slugs").await.must_be(200);
    assert_eq!(listed["results"][0]["deployedAt"], Value::Null);
    let deployed = world
        .call("POST", "/slugs/v1.2/deploy", json!({}))
        .await
        .must_be(200);
    assert_eq!(deployed, json!({"state": "running", "release": 1}));
    let listed = world.get("/slugs").await.must_be(200);
    let first = &listed["results"][0];
    assert_eq!(
        (&first["tag"], &first["createdAt"], &first["deployedAt"]),
        (
            &json!("v1.2"),
            &json!("2015-03-18T09:00:00Z"),
            &json!("2015-03-18T09:00:00Z")
        )
    );
    assert_eq!(
        world.get("").await.must_be(200)["structure"],
        json!({"web": 1})
    );
    let slug = world
        .store
        .list_slugs(&world.app())
        .await
        .unwrap()
        .remove(0);
    let run = world
        .mar
        .parts()
        .folders
        .tree(&world.app(), slug.id)
        .join("run");
    assert_eq!(std::fs::read_to_string(run).unwrap(), "#!/bin/sh");
}

#[tokio::test]
async fn without_process_types_the_procfile_inside_counts() {
    let world = World::new().await;
    let place = world.announce("v1", Value::Null).await;
    world.upload(&place, slug()).await.must_be(200);
    world
        .call("POST", "/slugs/v1/deploy", json!({}))
        .await
        .must_be(200);
    assert_eq!(
        world.get("").await.must_be(200)["structure"],
        json!({"web": 1, "worker": 0})
    );

    let place = world.announce("v2", json!({})).await;
    world
        .upload(&place, packed(&[("run", "x")]))
        .await
        .must_be(200);
    let refused = world
        .call("POST", "/slugs/v2/deploy", json!({}))
        .await
        .must_be(422);
    assert!(
        refused.to_string().contains("without process types"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_address_is_good_for_one_upload_of_one_slug() {
    let world = World::new().await;
    let place = world.announce("one", json!({"web": "x"})).await;
    let (path, query) = place.split_once('?').unwrap();
    let other = world.announce("two", json!({"web": "x"})).await;
    let (other_path, _) = other.split_once('?').unwrap();
    for wrong in [
        path.to_owned(),
        format!("{path}?expires=9999999999999&signature=00"),
        format!("{path}?{}", query.replace("expires=1", "expires=2")),
        format!("{other_path}?{query}"),
        place.replace(APP, FOREIGN),
        format!("{path}x?{query}"),
    ] {
        let refused = world.upload(&wrong, slug()).await.must_be(403);
        assert_eq!(refused["error"]["reason"], "Forbidden", "{wrong}");
    }
    // An account token opens nothing here either.
    world
        .send("account", "PUT", path, Body::from(slug()))
        .await
        .must_be(403);
    world.upload(&place, slug()).await.must_be(200);
    world.upload(&place, slug()).await.must_be(409);

    world.clock.advance(Duration::from_secs(15 * 60 + 1));
    world.upload(&other, slug()).await.must_be(403);
    assert_eq!(world.slug_files().len(), 1, "{:?}", world.slug_files());
}

#[tokio::test]
async fn what_is_no_slug_is_refused_and_leaves_nothing() {
    let limits = Limits {
        slug_bytes: 10_000,
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let place = world.announce("one", json!({"web": "x"})).await;
    for (bytes, status) in [
        (b"not a tar".to_vec(), 422),
        (Vec::new(), 422),
        (vec![0; 10_001], 413),
    ] {
        world.upload(&place, bytes).await.must_be(status);
        assert_eq!(world.slug_files(), [""; 0]);
    }
    // A body whose length nobody announced is cut as well.
    let pieces = (0..11).map(|_| Ok::<_, std::convert::Infallible>(vec![0; 1000]));
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    world.send("", "PUT", &place, body).await.must_be(413);
    assert_eq!(world.slug_files(), [""; 0]);
    // After all that it can still be uploaded.
    world.upload(&place, slug()).await.must_be(200);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let world = World::new().await;
    let place = world.announce("one", json!({"web": "x"})).await;
    let pieces = [
        Ok(vec![0; 1000]),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    world.send("", "PUT", &place, body).await.must_be(400);
    assert_eq!(world.slug_files(), [""; 0]);
}

#[tokio::test]
async fn a_slug_has_at_most_fifty_process_types() {
    let world = World::new().await;
    let types = |count: u32| -> String {
        let lines = (0..count).map(|number| format!("worker{number}: x\n"));
        lines.collect()
    };
    let place = world.announce("one", json!({})).await;
    let bytes = packed(&[("Procfile", &types(51))]);
    let refused = world.upload(&place, bytes).await.must_be(422);
    assert!(
        refused.to_string().contains("50 process types"),
        "{refused}"
    );
    let bytes = packed(&[("Procfile", &types(50))]);
    world.upload(&place, bytes).await.must_be(200);
}

#[tokio::test]
async fn a_slug_that_is_there_never_changes() {
    let world = World::new().await;
    world.announce("one", json!({"web": "x"})).await;
    let slug = world.store.list_slugs(&world.app()).await.unwrap();
    let slug = &slug[0];
    // Both uploads were let in while the slug was awaited.
    let accept = async |content| {
        let folder = world.mar.parts().folders.slugs(&world.app());
        let bytes = packed(&[("run", content)]);
        let draft = upload::receive(&folder, Body::from(bytes), 1 << 20).await;
        let room = world.mar.0.rooms.enter(AccountId::random()).await.unwrap();
        world.mar.accept(slug.clone(), draft.unwrap(), room).await
    };
    accept("first").await.unwrap();
    let tarball = world.mar.parts().folders.tarball(&world.app(), slug.id);
    let before = std::fs::read(&tarball).unwrap();
    let error = accept("second, and longer").await.unwrap_err();
    assert_eq!(error.kind, pilvi_model::Kind::Conflict);
    assert_eq!(std::fs::read(&tarball).unwrap(), before);
    assert_eq!(world.slug_files().len(), 1);
}

#[tokio::test]
async fn a_slug_is_not_replaced_while_its_app_is_being_deployed() {
    let world = World::new().await;
    let place = world.announce("one", json!({"web": "x"})).await;
    let turn = world.mar.turn(&world.app()).await;
    let upload = world.upload(&place, slug());
    tokio::pin!(upload);
    let waited = tokio::time::timeout(Duration::from_millis(100), &mut upload).await;
    assert!(waited.is_err(), "it waits for its turn");
    drop(turn);
    upload.await.must_be(200);
}

#[tokio::test(start_paused = true)]
async fn an_account_leaves_room_for_the_uploads_of_others() {
    let rooms = upload::Rooms::default();
    let [one, other] = [AccountId::random(), AccountId::random()];
    let mut held = Vec::new();
    while let Ok(room) = rooms.enter(one).await {
        held.push(room);
    }
    assert_eq!(held.len(), 4);
    let busy = rooms.enter(one).await.unwrap_err();
    assert_eq!(busy.kind, Kind::Unavailable);
    rooms.enter(other).await.unwrap();
}

#[tokio::test]
async fn an_app_uploads_one_slug_at_a_time() {
    let world = World::new().await;
    let [one, two] = [
        world.announce("one", json!({"web": "x"})).await,
        world.announce("two", json!({"web": "x"})).await,
    ];
    let pieces = futures_util::stream::pending::<Result<Vec<u8>, std::convert::Infallible>>();
    {
        let stuck = world.send("", "PUT", &one, Body::from_stream(pieces));
        tokio::pin!(stuck);
        let waited = tokio::time::timeout(Duration::from_millis(100), &mut stuck).await;
        assert!(waited.is_err());
        for place in [&one, &two] {
            let refused = world.upload(place, slug()).await.must_be(429);
            assert!(refused.to_string().contains("try again"), "{refused}");
        }
    }
    // The first client is gone.
    world.upload(&two, slug()).await.must_be(200);
    world.upload(&one, slug()).await.must_be(200);
}

#[tokio::test]
async fn a_tag_is_used_once_until_its_slug_is_removed() {
    let world = World::new().await;
    world.announce("release/7", json!({"web": "x"})).await;
    // One that never came is announced again.
    let place = world.announce("release/7", json!({"web": "x"})).await;
    world.upload(&place, slug()).await.must_be(200);
    let body = json!({"tag": "release/7", "process_types": {"web": "x"}});
    world
        .call("POST", "/slugs", body.clone())
        .await
        .must_be(409);
    // The tag is a part of the path, however it is written there.
    world
        .call("POST", "/slugs/release%2F7/deploy", json!({}))
        .await
        .must_be(200);
    world
        .call("DELETE", "/slugs/release%2F7", json!({}))
        .await
        .must_be(409);
    world.deploy("next", "web: x").await;
    world
        .call("DELETE", "/slugs/release%2F7", json!({}))
        .await
        .must_be(200);
    world
        .call("DELETE", "/slugs/release%2F7", json!({}))
        .await
        .must_be(404);
    world.call("POST", "/slugs", body).await.must_be(201);
    for (wrong, property) in [
        (json!({"process_types": {}}), "tag"),
        (json!({"tag": ".."}), "tag"),
        (json!({"tag": "x", "process_types": "web"}), "process_types"),
        (
            json!({"tag": "x", "process_types": {"web": 1}}),
            "process_types",
        ),
        (
            json!({"tag": "x", "process_types": {"we b": "x"}}),
            "process_types",
        ),
    ] {
        let refused = world.call("POST", "/slugs", wrong).await.must_be(422);
        assert_eq!(refused["errors"][0]["property"], property);
    }
}

#[tokio::test]
async fn builds_stay_deployable_for_a_while_and_uploads_until_they_are_removed() {
    let world = World::new().await;
    let place = world.announce("v1", json!({"web": "x"})).await;
    world.upload(&place, slug()).await.must_be(200);
    for number in 1..=12 {
        world.deploy(&format!("commit{number}"), "web: x").await;
    }
    let mut expected: Vec<String> = (3..=12)
        .rev()
        .map(|number| format!("commit{number}"))
        .collect();
    expected.push("v1".to_owned());
    assert_eq!(world.tags().await, expected);
    let files = world.slug_files();
    let trees = files.iter().filter(|name| !name.contains('.')).count();
    assert_eq!((files.len() - trees, trees), (11, 2), "{files:?}");

    // Back to an early one: its files are unpacked again.
    let back = world
        .call("POST", "/slugs/commit3/deploy", json!({}))
        .await
        .must_be(200);
    assert_eq!(back["release"], 13);
    world.deploy("commit13", "web: x").await;
    world.deploy("commit14", "web: x").await;
    let tags = world.tags().await;
    assert!(!tags.contains(&"commit3".to_owned()), "{tags:?}");
}

#[tokio::test]
async fn a_release_can_be_rolled_back_to() {
    let world = World::new().await;
    world.deploy("one", "web: x").await;
    world.deploy("two", "web: x\nworker: y").await;
    let back = world
        .call("POST", "/releases/1/rollback", json!({}))
        .await
        .must_be(200);
    assert_eq!(back, json!({"state": "running", "release": 3}));
    let releases = world.get("/releases").await.must_be(200);
    let shown: Vec<_> = releases["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|release| {
            (
                release["number"].as_u64().unwrap(),
                release["state"].as_str().unwrap(),
                release["tag"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [(3, "current", "one"), (2, "old", "two"), (1, "old", "one")]
    );
    assert_eq!(releases["results"][0]["reason"], "Roll back to v1");
    for (number, status) in [("3", 409), ("9", 404), ("x", 404), ("v2", 200)] {
        let path = format!("/releases/{number}/rollback");
        world.call("POST", &path, json!({})).await.must_be(status);
    }
}

#[tokio::test]
async fn a_deploy_that_fails_says_why_and_changes_nothing() {
    let world = World::new().await;
    world.deploy("one", "web: x").await;
    world.build("two", "web: x").await;
    world
        .stage
        .fail(Some("web.1 did not listen on its port within 60 seconds"));
    let refused = world
        .call("POST", "/slugs/two/deploy", json!({}))
        .await
        .must_be(409);
    assert!(refused.to_string().contains("did not listen"), "{refused}");
    assert_eq!(world.get("").await.must_be(200)["release"], 1);
    let releases = world.get("/releases").await.must_be(200);
    assert_eq!(releases["results"][0]["state"], "failed");
    let missing = world.call("POST", "/slugs/nothing/deploy", json!({})).await;
    missing.must_be(404);
}

#[tokio::test]
async fn a_deploy_that_takes_long_goes_on_without_the_request() {
    let limits = Limits {
        deploy_wait: Duration::from_millis(20),
        ..Limits::default()
    };
    let world = World::with(limits).await;
    world.build("one", "web: x").await;
    world.stage.hold(true);
    let answer = world
        .call("POST", "/slugs/one/deploy", json!({}))
        .await
        .must_be(200);
    assert_eq!(answer, json!({"state": "deploying", "release": null}));
    world.wait_for_state("deploying").await;
    world.stage.hold(false);
    world.wait_for_background().await;
    assert_eq!(world.get("").await.must_be(200)["release"], 1);
}
