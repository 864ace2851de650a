//! Commands inside a running process.

use pilvi_mar::Processes;
use pilvi_model::Kind as ErrorKind;
use pilvi_model::app::ProcessName;

use crate::world::{Kind, World};

fn web() -> ProcessName {
    "web.1".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_has_the_place_and_the_environment_of_its_process() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        world
            .deploy_with("web: perl server.pl 127.0.0.1 one", &[("A", "x y")])
            .await
            .unwrap();
        let run = async |command: &str| {
            world
                .supervisor
                .exec(&world.app, &web(), command)
                .await
                .unwrap()
        };
        let done =
            run("echo \"$A $PROFILE $MAR_PROCESS\"; echo bad >&2; ls server.pl; exit 3").await;
        assert_eq!(done.stdout, "x y ab web.1\nserver.pl\n");
        assert_eq!((done.stderr.as_str(), done.exit_code), ("bad\n", 3));
        assert_eq!(run("printf '\\377'").await.stdout, "\u{fffd}");
        assert_eq!(run("kill -9 $$").await.exit_code, 137);
        let done = run("sleep 1000 & echo started").await;
        assert_eq!((done.stdout.as_str(), done.exit_code), ("started\n", 0));
        assert_eq!(world.body().await, "one");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_bounded_in_time_and_output() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        world
            .deploy("web: perl server.pl 127.0.0.1 one")
            .await
            .unwrap();
        let run = async |command: &str| {
            world
                .supervisor
                .exec(&world.app, &web(), command)
                .await
                .unwrap()
        };
        let done = run("echo begun; sleep 1000").await;
        assert_eq!(done.stdout, "begun\n");
        assert_eq!(done.stderr, "the command was ended after 5 seconds\n");
        let done = run("yes").await;
        assert_eq!(done.stdout.len(), 100_000);
        assert_eq!(
            done.stderr,
            "the command was ended after 100000 bytes of output\n"
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_runs_can_be_entered() {
    let world = World::new(Kind::Plain).await;
    let exec = async |name: &str| {
        world
            .supervisor
            .exec(&world.app, &name.parse().unwrap(), "true")
            .await
    };
    assert_eq!(exec("web.1").await.unwrap_err().kind, ErrorKind::NotFound);
    world
        .deploy("web: perl server.pl 127.0.0.1 one")
        .await
        .unwrap();
    exec("web.1").await.unwrap();
    for name in ["web.2", "worker.1"] {
        assert_eq!(exec(name).await.unwrap_err().kind, ErrorKind::NotFound);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_process_is_stopped_says_so() {
    // Plain processes have nothing that ends a command together with them.
    for kind in Kind::all().into_iter().filter(|kind| *kind != Kind::Plain) {
        let world = World::new(kind).await;
        world
            .deploy("web: perl server.pl 127.0.0.1 one")
            .await
            .unwrap();
        let process = web();
        let (done, restarted) = tokio::join!(
            world.supervisor.exec(&world.app, &process, "sleep 1000"),
            world.supervisor.restart(&world.app),
        );
        restarted.unwrap();
        let done = done.unwrap();
        assert_eq!(done.exit_code, 137);
        assert_eq!(
            done.stderr,
            "web.1 was stopped while the command ran; run it again in what runs now\n"
        );
        world.stop().await;
    }
}
