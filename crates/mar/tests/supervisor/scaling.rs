//! How many processes run, and whether any do.

use pilvi_mar::{ProcessState, Processes};
use pilvi_store::platform::Wanted;

use crate::world::{Kind, World, until};

const APP: &str = "web: perl server.pl 127.0.0.1 here $MAR_PROCESS\nworker: sleep 1000\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_come_and_go_by_number() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        world.deploy(APP).await.unwrap();
        world.scale(&[("web", 3), ("worker", 1)]).await;
        world.settled().await;
        let all = [
            "web.1 running",
            "web.2 running",
            "web.3 running",
            "worker.1 running",
        ];
        assert_eq!(world.states().await, all);
        world.scale(&[("web", 1), ("worker", 0)]).await;
        world.settled().await;
        assert_eq!(world.states().await, ["web.1 running"]);
        assert_eq!(world.body().await, "here web.1");
        world.scale(&[("web", 0)]).await;
        world.settled().await;
        assert!(world.states().await.is_empty());
        let (status, page) = world.get("/").await.unwrap();
        assert_eq!(status, 503);
        assert!(page.contains("no web process"), "{page}");
        world.scale(&[("web", 1)]).await;
        assert_eq!(world.body().await, "here web.1");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_app_stays_stopped_until_it_is_started() {
    let world = World::new(Kind::Plain).await;
    world.deploy(APP).await.unwrap();
    world.want(Wanted::Stopped).await;
    world.settled().await;
    assert!(world.states().await.is_empty());
    let (status, page) = world.get("/").await.unwrap();
    assert_eq!(status, 503);
    assert!(page.contains("stopped"), "{page}");

    world
        .deploy("web: perl server.pl 127.0.0.1 second")
        .await
        .unwrap();
    world.settled().await;
    assert!(world.states().await.is_empty());

    world.want(Wanted::Running).await;
    assert_eq!(world.body().await, "second");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_an_app_ends_a_deploy_that_is_under_way() {
    let world = World::new(Kind::Plain).await;
    let release = world.release(&world.app, "web: sleep 1000", &[]).await;
    let deploy = world.supervisor.deploy(&world.app, release, &());
    let stop = async {
        until("deploying", async || {
            world
                .supervisor
                .is_deploying(&world.app)
                .await
                .unwrap()
                .then_some(())
        })
        .await;
        world.want(Wanted::Stopped).await;
    };
    let (outcome, ()) = tokio::join!(deploy, stop);
    let error = outcome.unwrap_err();
    assert!(error.message.contains("the app was stopped"), "{error}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_at_the_same_time_ends_as_the_store_says() {
    let world = World::new(Kind::Plain).await;
    world.deploy(APP).await.unwrap();
    let release = world
        .release(
            &world.app,
            "web: perl server.pl 127.0.0.1 last\nworker: sleep 2000",
            &[],
        )
        .await;
    let changes = async {
        for round in 0..20 {
            world
                .scale(&[("web", 1 + round % 3), ("worker", round % 2)])
                .await;
            world.supervisor.restart(&world.app).await.unwrap();
        }
        world.scale(&[("web", 2), ("worker", 1)]).await;
    };
    let (deployed, ()) = tokio::join!(world.supervisor.deploy(&world.app, release, &()), changes);
    deployed.unwrap();
    world.settled().await;
    assert_eq!(
        world.states().await,
        ["web.1 running", "web.2 running", "worker.1 running"]
    );
    assert!(world.status().await.iter().all(|row| row.release == 2));
    assert_eq!(world.body().await, "last");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_removed_app() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        let stubborn = "trap '' TERM; perl server.pl 127.0.0.1 $$ & sleep 1000";
        world.deploy(&format!("web: {stubborn}")).await.unwrap();
        world.until_state("web.1", ProcessState::Running).await;
        world.supervisor.remove(&world.app).await.unwrap();
        assert_eq!(world.get("/").await.unwrap().0, 404);
        world.supervisor.remove(&world.app).await.unwrap();
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_an_app_ends_a_deploy_that_is_under_way() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        world.deploy(APP).await.unwrap();
        let release = world.release(&world.app, "web: sleep 1000", &[]).await;
        let deploy = world.supervisor.deploy(&world.app, release, &());
        let remove = async {
            world
                .until_log("Starting process with command `sleep 1000`")
                .await;
            world.supervisor.remove(&world.app).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(deploy, remove);
        let error = outcome.unwrap_err();
        assert!(
            error.message.contains("the app is being removed"),
            "{error}"
        );
        assert_eq!(world.get("/").await.unwrap().0, 404);
        world.stop().await;
    }
}
