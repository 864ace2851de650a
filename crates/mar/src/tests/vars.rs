//! Config vars.

use serde_json::{Value, json};

use super::{APP, World};
use crate::env_vars;

#[tokio::test]
async fn vars_are_merged_and_shown_with_the_stack() {
    let world = World::new().await;
    let put = async |body| world.call("PUT", "/env_vars", body).await;
    put(json!({"A": "1", "B": 2, "C": true, "D": "x"}))
        .await
        .must_be(200);
    let shown = put(json!({"A": null, "D": "", "NEVER_SET": null}))
        .await
        .must_be(200);
    assert_eq!(
        shown,
        json!({"B": "2", "C": "true", "D": "", "STACK": "cedar-14"})
    );
    assert_eq!(world.get("/env_vars").await.must_be(200), shown);
    put(json!({"STACK": "cedar"})).await.must_be(200);
    assert_eq!(world.get("").await.must_be(200)["stack"], "cedar");
    world.wait_for_background().await;
    assert_eq!(world.stage.acts(), [""; 0], "nothing was ever deployed");
}

#[tokio::test]
async fn a_request_changes_everything_or_nothing() {
    let world = World::new().await;
    for (body, status, property) in [
        (json!({"A": "1", "PORT": "80"}), 422, "PORT"),
        (json!({"A": "1", "HOME": "/"}), 422, "HOME"),
        (json!({"A": "1", "MAR_APP_ID": "x"}), 422, "MAR_APP_ID"),
        (json!({"A": "1", "B-C": "x"}), 422, "B-C"),
        (json!({"A": "1", "B": ["x"]}), 422, "B"),
        (json!({"A": "1", "B": "x".repeat(40_000)}), 422, "B"),
        (json!({"A": "1", "STACK": "windows"}), 422, "stack"),
    ] {
        let refused = world.call("PUT", "/env_vars", body).await.must_be(status);
        assert_eq!(refused["errors"][0]["property"], property);
    }
    let many: Value = (0..251)
        .map(|number| (format!("V{number}"), json!("x")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    world.call("PUT", "/env_vars", many).await.must_be(422);
    for wrong in [json!([1]), json!("x")] {
        world.call("PUT", "/env_vars", wrong).await.must_be(400);
    }
    let shown = world.get("/env_vars").await.must_be(200);
    assert_eq!(shown, json!({"STACK": "cedar-14"}));
}

#[tokio::test]
async fn a_change_becomes_a_release_of_its_own() {
    let world = World::new().await;
    world.deploy("one", "web: x").await;
    world.stage.acts();
    world
        .call("PUT", "/env_vars", json!({"A": "1", "B": "2"}))
        .await
        .must_be(200);
    world.wait_for_background().await;
    assert_eq!(world.stage.acts(), [format!("deploy {APP} v2")]);
    // The same again changes nothing.
    world
        .call("PUT", "/env_vars", json!({"A": "1", "NEVER_SET": null}))
        .await
        .must_be(200);
    world.wait_for_background().await;
    assert_eq!(world.stage.acts(), [""; 0]);

    let releases = world.get("/releases").await.must_be(200);
    let newest = &releases["results"][0];
    assert_eq!(
        (
            &newest["number"],
            &newest["state"],
            &newest["reason"],
            &newest["author"]
        ),
        (
            &json!(2),
            &json!("current"),
            &json!("Set A, B"),
            &json!("the account token")
        )
    );
    let release = world
        .store
        .find_current_release(&world.app())
        .await
        .unwrap()
        .unwrap();
    let parts = world.mar.parts();
    let environment = env_vars::environment(&parts.store, &parts.keyring, &release)
        .await
        .unwrap();
    let expected = [
        ("A", "1"),
        ("B", "2"),
        ("MAR_APP_ID", APP),
        ("STACK", "cedar-14"),
    ];
    assert_eq!(
        environment,
        expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    );
}

#[tokio::test]
async fn changes_during_a_deploy_are_one_release_after_it() {
    let world = World::new().await;
    world.deploy("one", "web: x").await;
    world.stage.acts();
    world.stage.hold(true);
    for number in 0..5 {
        world
            .call("PUT", "/env_vars", json!({"A": number}))
            .await
            .must_be(200);
    }
    world.wait_for_state("deploying").await;
    world
        .call("PUT", "/env_vars", json!({"A": "last"}))
        .await
        .must_be(200);
    world
        .call("PUT", "/env_vars", json!({"B": "too"}))
        .await
        .must_be(200);
    world.stage.hold(false);
    world.wait_for_background().await;
    let acts = world.stage.acts();
    assert!(acts.len() <= 2, "{acts:?}");
    let release = world
        .store
        .find_current_release(&world.app())
        .await
        .unwrap()
        .unwrap();
    let parts = world.mar.parts();
    let used = env_vars::open(&parts.keyring, &world.app(), &release.vars).unwrap();
    assert_eq!((used["A"].as_str(), used["B"].as_str()), ("last", "too"));
}

#[tokio::test]
async fn a_change_that_a_crash_interrupted_is_released_after_the_restart() {
    let world = World::new().await;
    world
        .call("PUT", "/env_vars", json!({"A": "1"}))
        .await
        .must_be(200);
    world.deploy("one", "web: x").await;
    world.mar.resume().await.unwrap();
    world.wait_for_background().await;
    assert_eq!(world.get("").await.must_be(200)["release"], 1);

    // Written down, and then the power went.
    let set = world.store.list_app_vars(&world.app()).await.unwrap();
    let bounds = pilvi_store::platform::VarBounds {
        count_max: 9,
        bytes_max: 999,
    };
    let unset = vec![set[0].name.clone()];
    world
        .store
        .change_app_vars(&world.app(), Vec::new(), unset, bounds)
        .await
        .unwrap();
    world.mar.resume().await.unwrap();
    world.wait_for_background().await;
    let releases = world.get("/releases").await.must_be(200);
    let newest = &releases["results"][0];
    assert_eq!(
        (&newest["number"], &newest["state"], &newest["reason"]),
        (&json!(2), &json!("current"), &json!("Remove A"))
    );
}

#[tokio::test]
async fn vars_that_the_processes_cannot_live_with_are_told_in_the_log() {
    let world = World::new().await;
    world.deploy("one", "web: x").await;
    world
        .stage
        .fail(Some("the process web.1 ended with code 3"));
    world
        .call("PUT", "/env_vars", json!({"A": "1"}))
        .await
        .must_be(200);
    world.wait_for_background().await;
    assert_eq!(world.get("").await.must_be(200)["release"], 1);
    let log = world
        .get("/logs?stream=system")
        .await
        .must_be(200)
        .to_string();
    assert!(log.contains("the process web.1 ended with code 3"), "{log}");
}

#[tokio::test]
async fn no_value_is_on_the_disk_in_the_clear() {
    let world = World::new().await;
    world.deploy("one", "web: x").await;
    world
        .call("PUT", "/env_vars", json!({"A": "s3cret-s3cret"}))
        .await
        .must_be(200);
    world.wait_for_background().await;
    for name in ["pilvi.db", "pilvi.db-wal"] {
        let bytes = std::fs::read(world.folder.path().join("data").join(name)).unwrap();
        let found = bytes.windows(13).any(|window| window == b"s3cret-s3cret");
        assert!(!found, "{name}");
    }
}
