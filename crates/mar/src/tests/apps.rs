//! The app as a whole.

use axum::body::Body;
use pilvi_core::Provisioner;
use pilvi_core::Resource;
use pilvi_model::Provider;
use serde_json::{Value, json};

use super::{APP, FOREIGN, World};
use crate::Limits;

#[tokio::test]
async fn an_app_has_every_field_before_its_first_deploy() {
    let world = World::new().await;
    let shown = world.get("").await.must_be(200);
    assert_eq!(
        shown,
        json!({
            "id": APP,
            "name": "echo",
            "type": "app",
            "size": 2,
            "state": "created",
            "stack": "cedar-14",
            "structure": {},
            "sslCertificate": null,
            "url": format!("http://{APP}.apps.localhost:8080"),
            "gitUrl": format!("ssh://git@127.0.0.1:2222/{APP}"),
            "httpsUrl": format!("https://{APP}.apps.localhost:8443"),
            "gitSshUrl": format!("ssh://git@127.0.0.1:2222/{APP}"),
            "gitHttpsUrl": format!("https://localhost:8443/git/{APP}"),
            "release": null,
            "layersMissing": ["seccomp"],
            "createdAt": "2015-03-18T09:00:00Z",
        })
    );
    let status = world.get("/status").await.must_be(200);
    assert_eq!(status, json!({"state": "created", "processes": []}));
}

#[tokio::test]
async fn every_spelling_of_the_path_is_the_app() {
    let world = World::new().await;
    for path in [
        format!("/v1/apps/{APP}/"),
        format!("/v1/apps/{APP}?"),
        format!("/v1/apps/{APP}.git"),
        format!("/v1//apps/{APP}"),
        format!("/v1/apps/{APP}.git/status/"),
    ] {
        let answer = world.send("account", "GET", &path, Body::empty()).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    for path in [
        "/v1/apps",
        "/v1/apps/x",
        "/v1/apps/mar-eu-1-zzzzzzzz",
        &format!("/v1/apps/{FOREIGN}"),
    ] {
        let answer = world.send("account", "GET", path, Body::empty()).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.body["error"]["reason"], "NotFound", "{path}");
    }
}

#[tokio::test]
async fn every_process_type_is_shown_with_its_count() {
    let world = World::new().await;
    world.deploy("one", "web: x\nworker: y\nclock: z").await;
    let shown = world.get("").await.must_be(200);
    assert_eq!(
        shown["structure"].to_string(),
        r#"{"web":1,"worker":0,"clock":0}"#
    );
    assert_eq!(
        (&shown["state"], &shown["release"]),
        (&json!("running"), &json!(1))
    );
}

#[tokio::test]
async fn scaling_takes_texts_and_numbers() {
    let world = World::new().await;
    let early = world
        .call("POST", "/scale", json!({"web": "1"}))
        .await
        .must_be(422);
    assert!(
        early["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("first deploy"),
        "{early}"
    );
    world.deploy("one", "web: x\nworker: y").await;
    world.stage.acts();

    let scaled = world
        .call("POST", "/scale", json!({"web": "2", "worker": 1}))
        .await
        .must_be(200);
    assert_eq!(scaled, json!({"structure": {"web": 2, "worker": 1}}));
    assert_eq!(world.stage.acts(), [format!("apply {APP}")]);
    let status = world.get("/status").await.must_be(200);
    assert_eq!(
        status["processes"][1],
        json!({
            "id": "web.2", "type": "web", "number": 2, "state": "running", "release": 1,
            "startedAt": "2015-03-18T09:00:00Z", "exitCode": null, "memory": 41_943_040,
        })
    );
    let ids: Vec<&Value> = status["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| &process["id"])
        .collect();
    assert_eq!(ids, ["web.1", "web.2", "worker.1"]);

    for (wrong, status) in [
        (json!({"wev": 1}), 422),
        (json!({"web": 11}), 422),
        (json!({"web": "-1"}), 422),
        (json!({"web": 3, "nothing": 1}), 422),
        (json!({}), 400),
        (json!([1]), 400),
    ] {
        world
            .call("POST", "/scale", wrong.clone())
            .await
            .must_be(status);
    }
    assert_eq!(
        world.get("").await.must_be(200)["structure"],
        json!({"web": 2, "worker": 1})
    );
    assert_eq!(world.stage.acts(), [""; 0]);
    world
        .call("POST", "/scale", json!({"web": 0, "worker": 0}))
        .await
        .must_be(200);
    assert_eq!(world.get("").await.must_be(200)["state"], "stopped");
}

#[tokio::test]
async fn an_app_has_so_many_processes_over_all_types() {
    let world = World::new().await;
    world.deploy("one", "web: x\nworker: y\nclock: z").await;
    let scale = async |counts| world.call("POST", "/scale", counts).await;
    scale(json!({"web": 10, "worker": 10})).await.must_be(200);
    world.stage.acts();
    let refused = scale(json!({"clock": 1})).await.must_be(422);
    assert_eq!(refused["errors"][0]["property"], "clock");
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("20 processes"), "{message}");
    assert_eq!(world.stage.acts(), [""; 0]);
    let scaled = scale(json!({"clock": 1, "web": 9})).await.must_be(200);
    assert_eq!(
        scaled["structure"],
        json!({"web": 9, "worker": 10, "clock": 1})
    );
}

#[tokio::test]
async fn an_app_with_too_many_processes_may_have_fewer() {
    let limits = Limits {
        processes: 3,
        ..Limits::default()
    };
    let world = World::with(limits).await;
    world.deploy("one", "web: x\nworker: y").await;
    let many = vec![("web".parse().unwrap(), 9)];
    world
        .store
        .scale(&world.app(), many, 100, u64::MAX)
        .await
        .unwrap();
    let scale = async |counts| world.call("POST", "/scale", counts).await;
    scale(json!({"worker": 1})).await.must_be(422);
    scale(json!({"web": 7})).await.must_be(200);
    scale(json!({"web": 8})).await.must_be(422);
    scale(json!({"web": 2, "worker": 1})).await.must_be(200);
}

#[tokio::test]
async fn apps_are_scaled_as_far_as_the_quota_of_memory_goes() {
    let world = World::new().await;
    world.deploy("one", "web: x\nworker: y").await;
    let account = world.mar.app(&world.app()).await.unwrap().account;
    // One process of the sibling, and three of this app.
    let most = vec![(Resource::AppMemoryBytes, Some((4 * 512) << 20))];
    assert!(world.mar.0.quotas.set(account, most).await.unwrap());
    let scale = async |counts| world.call("POST", "/scale", counts).await;
    scale(json!({"web": 3})).await.must_be(200);
    let refused = scale(json!({"worker": 1})).await.must_be(429);
    assert!(refused.to_string().contains("2048 MB"), "{refused}");
    scale(json!({"web": 2, "worker": 1})).await.must_be(200);
    // Whoever has more than they may can go down in steps.
    let less = vec![(Resource::AppMemoryBytes, Some(512 << 20))];
    assert!(world.mar.0.quotas.set(account, less).await.unwrap());
    scale(json!({"web": 1})).await.must_be(200);
    scale(json!({"web": 2})).await.must_be(429);
}

#[tokio::test]
async fn an_app_stops_starts_and_restarts() {
    let world = World::new().await;
    world.deploy("one", "web: x").await;
    world.stage.acts();
    for (act, state, asked) in [
        ("/stop", "stopped", "apply"),
        ("/start", "running", "apply"),
        ("/restart", "running", "restart"),
    ] {
        assert_eq!(
            world.call("POST", act, json!({})).await.must_be(200),
            json!({})
        );
        assert_eq!(world.stage.acts(), [format!("{asked} {APP}")]);
        assert_eq!(world.get("").await.must_be(200)["state"], state, "{act}");
    }
    world.stage.crash();
    let status = world.get("/status").await.must_be(200);
    assert_eq!(status["state"], "crashed");
    assert_eq!(status["processes"][0]["exitCode"], 7);
}

#[tokio::test]
async fn the_stack_is_chosen_among_those_that_there_are() {
    let world = World::new().await;
    let shown = world
        .call("PUT", "", json!({"stack": "cedar"}))
        .await
        .must_be(200);
    assert_eq!(shown["stack"], "cedar");
    for (body, words) in [
        (json!({"stack": "heroku-24"}), "cedar, cedar-14, debian-12"),
        (json!({"stack": "../x"}), "not the name of a stack"),
        (json!({"stack": null}), "required"),
        (json!({}), "required"),
    ] {
        let refused = world.call("PUT", "", body).await.must_be(422);
        let message = refused["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(
        world.get("/env_vars").await.must_be(200),
        json!({"STACK": "cedar"})
    );
}

#[tokio::test]
async fn a_command_runs_in_the_named_process() {
    let world = World::new().await;
    world.deploy("one", "web: x\nworker: y").await;
    let body = json!({"cmd": "ls -la", "processId": "web.1"});
    let done = world.call("POST", "/exec", body).await.must_be(200);
    assert_eq!(
        done.to_string(),
        r#"{"stderr":"","stdout":"web.1: ls -la\n","exitCode":0}"#
    );
    for (body, status) in [
        (json!({"cmd": "ls", "processId": "web.2"}), 404),
        (json!({"cmd": "ls", "processId": "nonsense"}), 404),
        (json!({"cmd": "ls"}), 422),
        (json!({"cmd": " ", "processId": "web.1"}), 422),
        (json!({"cmd": 1, "processId": "web.1"}), 422),
        (
            json!({"cmd": "x".repeat(20_000), "processId": "web.1"}),
            422,
        ),
    ] {
        world.call("POST", "/exec", body).await.must_be(status);
    }
}

#[tokio::test]
async fn few_commands_run_at_the_same_time() {
    let limits = Limits {
        commands: 2,
        ..Limits::default()
    };
    let world = World::with(limits).await;
    world.deploy("one", "web: x").await;
    world.stage.hold(true);
    let run = async || {
        let body = json!({"cmd": "ls", "processId": "web.1"});
        let answer = world.call("POST", "/exec", body).await;
        // One is refused at once, whichever came last to the app; that lets the others end.
        world.stage.hold(false);
        answer.status
    };
    let (one, two, three) = tokio::join!(run(), run(), run());
    let mut statuses = [one, two, three];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(run().await, 200);
}

#[tokio::test]
async fn cache_and_repository_are_emptied_and_there_again() {
    let world = World::new().await;
    let cache = world.mar.parts().folders.cache(&world.app());
    std::fs::write(cache.join("qt"), "x").unwrap();
    let repository = world
        .mar
        .parts()
        .folders
        .of(&world.app())
        .join("repository.git");
    std::fs::write(repository.join("mark"), "x").unwrap();
    for path in ["/build_cache", "/repository"] {
        // The classic command line sends a body of `null`.
        let path = format!("/v1/apps/{APP}{path}");
        let answer = world
            .send("account", "DELETE", &path, Body::from("null"))
            .await;
        assert_eq!(answer.must_be(200), json!({}));
    }
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0);
    assert!(repository.join("HEAD").is_file() && !repository.join("mark").exists());
}

#[tokio::test]
async fn a_removed_app_leaves_nothing() {
    let world = World::new().await;
    world.deploy("one", "web: x").await;
    let folder = world.mar.parts().folders.of(&world.app());
    assert!(folder.join("repository.git/HEAD").is_file());
    let instance = world.store.retire_instance(APP).await.unwrap().unwrap();
    world.stage.acts();
    for _ in 0..2 {
        Provisioner::remove(&world.mar, &instance).await.unwrap();
        assert_eq!(world.stage.acts(), vec![format!("remove {APP}"); 2]);
        assert!(!folder.exists());
    }
    world.store.delete_instance(APP).await.unwrap();
    let left = world.store.find_app(&world.app()).await.unwrap();
    assert_eq!(left, None);
}

#[tokio::test]
async fn the_platform_shows_where_to_push() {
    let world = World::new().await;
    let directory = &world.mar.parts().directory;
    let instance = directory.find(Provider::Mar, APP).await.unwrap().unwrap();
    assert_eq!(
        Value::Object(world.mar.shown_config(&instance)),
        json!({
            "MAR_GIT_ADDRESS": format!("ssh://git@127.0.0.1:2222/{APP}"),
            "runtimeSize": 2,
            "runtimeType": "app",
        })
    );
    let id = world.mar.new_id("eu-1").unwrap();
    assert!(id.starts_with("mar-eu-1-") && id.len() == 17, "{id}");
}

#[tokio::test]
async fn a_start_clears_away_what_belongs_to_nothing() {
    let world = World::new().await;
    let slug = world.deploy("one", "web: x").await;
    let folders = world.mar.parts().folders.clone();
    let stranger = "mar-eu-1-zzzzzzzz".parse().unwrap();
    folders.make(&stranger).unwrap();
    let draft = folders.slugs(&world.app()).join("draft-1");
    std::fs::write(&draft, "x").unwrap();
    let lost = folders.tarball(&world.app(), 999);
    std::fs::write(&lost, "x").unwrap();
    world.mar.clear_unfinished().await.unwrap();
    assert!(!folders.of(&stranger).exists() && !draft.exists() && !lost.exists());
    assert!(folders.tarball(&world.app(), slug.id).is_file());
    assert!(folders.tree(&world.app(), slug.id).is_dir());
}
