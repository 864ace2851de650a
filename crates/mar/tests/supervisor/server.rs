//! The server stops, dies and starts again.

use std::time::{Duration, Instant};

use pilvi_mar::Processes;
use pilvi_store::platform::ReleaseState;

use crate::world::{Kind, World, get, until};

const APP: &str = "web: perl server.pl 127.0.0.1 one\nworker: sleep 1000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ran_runs_again_after_a_restart_of_the_server() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        world.deploy(APP).await.unwrap();
        world.scale(&[("web", 2), ("worker", 1)]).await;
        world.settled().await;
        let pending = world.release(&world.app, "web: never started", &[]).await;
        let (app, tree) = (world.app.clone(), world.folders.tree(&world.app, 1));
        assert!(tree.is_dir());
        let ground = world.stop().await;
        // As after a loss of power, or when somebody has tidied up.
        std::fs::remove_dir_all(&tree).unwrap();

        let world = World::start(ground).await;
        // Whoever comes too early hears that it starts, and not that there is no such app.
        let (status, body) = world.get("/").await.unwrap();
        assert!(matches!(status, 200 | 503), "{status} {body}");
        world.settled().await;
        assert_eq!(
            world.states().await,
            ["web.1 running", "web.2 running", "worker.1 running"]
        );
        assert_eq!(world.body().await, "one");
        assert!(tree.is_dir());
        let pending = world
            .store
            .find_release(&app, pending)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(pending.state, ReleaseState::Failed);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_stops_in_time_whatever_apps_do() {
    for kind in Kind::all() {
        let settings = pilvi_mar::supervisor::Settings {
            shutdown_drain: Duration::from_millis(200),
            shutdown_grace: Duration::from_millis(500),
            ..crate::world::quick()
        };
        let world = World::with(kind, settings).await;
        let stubborn = "trap '' TERM; while :; do sleep 1; done";
        world
            .deploy(&format!(
                "web: perl server.pl 127.0.0.1 one\nworker: {stubborn}"
            ))
            .await
            .unwrap();
        world.scale(&[("worker", 3)]).await;
        world.settled().await;
        let begun = Instant::now();
        world.stop().await;
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_that_the_server_stops_on_leaves_the_old_release() {
    let world = World::new(Kind::Plain).await;
    world.deploy(APP).await.unwrap();
    let release = world.release(&world.app, "web: sleep 1000", &[]).await;
    let supervisor = world.supervisor.clone();
    let app = world.app.clone();
    let (outcome, ground) = tokio::join!(supervisor.deploy(&app, release, &()), async {
        until("deploying", async || {
            supervisor.is_deploying(&app).await.unwrap().then_some(())
        })
        .await;
        world.stop().await
    });
    assert!(
        outcome
            .unwrap_err()
            .message
            .contains("the server is stopping")
    );
    drop(supervisor);
    let world = World::start(ground).await;
    world.settled().await;
    assert_eq!(world.body().await, "one");
    let state = world
        .store
        .find_release(&world.app, release)
        .await
        .unwrap()
        .unwrap()
        .state;
    assert_eq!(state, ReleaseState::Failed);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_apps_start_in_turns() {
    let world = World::new(Kind::Plain).await;
    let mut apps = Vec::new();
    for number in 0..12 {
        let app = world.add_app(&format!("mar-eu-1-many00{number:02}")).await;
        let release = world
            .release(
                &app,
                "web: sleep 0.2; perl server.pl 127.0.0.1 $MAR_APP_ID",
                &[],
            )
            .await;
        apps.push((app, release));
    }
    let deploys = apps
        .iter()
        .map(|(app, release)| world.supervisor.deploy(app, *release, &()));
    for outcome in futures_util::future::join_all(deploys).await {
        outcome.unwrap();
    }
    let ground = world.stop().await;

    let begun = Instant::now();
    let world = World::start(ground).await;
    for (app, _) in &apps {
        let body = until(app.as_str(), async || {
            let reply = get(world.router, app, "/").await;
            reply.ok().filter(|(status, _)| *status == 200)
        });
        assert_eq!(body.await.1, app.as_str());
    }
    // Four at a time, and each takes a fifth of a second at least.
    assert!(
        begun.elapsed() >= Duration::from_millis(600),
        "{:?}",
        begun.elapsed()
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_whose_files_are_lost_says_so_and_comes_back_with_the_next_deploy() {
    let world = World::new(Kind::Plain).await;
    world.deploy(APP).await.unwrap();
    let (tarball, tree) = (
        world.folders.tarball(&world.app, 1),
        world.folders.tree(&world.app, 1),
    );
    let ground = world.stop().await;
    std::fs::remove_file(tarball).unwrap();
    std::fs::remove_dir_all(tree).unwrap();

    let world = World::start(ground).await;
    world
        .until_log("The app was not started: it could not be made ready")
        .await;
    let (status, page) = world.get("/").await.unwrap();
    assert_eq!(status, 503);
    assert!(page.contains("crashed"), "{page}");
    world
        .deploy("web: perl server.pl 127.0.0.1 two")
        .await
        .unwrap();
    assert_eq!(world.body().await, "two");
    world.settled().await;
    world.stop().await;
}
