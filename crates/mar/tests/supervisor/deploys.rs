//! From one release to the next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pilvi_mar::{ProcessState, Processes, Progress};
use pilvi_model::AppId;
use pilvi_store::platform::ReleaseState;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::world::{Kind, World, get, get_over, quick};

const ONE: &str = "web: perl server.pl 127.0.0.1 one\nworker: sleep 1000\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_release_runs_one_web_process_and_nothing_else() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        let (status, page) = world.get("/").await.unwrap();
        assert_eq!(
            status, 404,
            "before its first keeper the app is unknown to the router: {page}"
        );

        world.deploy(ONE).await.unwrap();

        assert_eq!(world.body().await, "one");
        world.settled().await;
        assert_eq!(world.states().await, ["web.1 running"]);
        let row = world.status().await.remove(0);
        assert_eq!((row.release, row.exit_code), (1, None));
        assert!(row.started_at.is_some() && row.memory_bytes.is_some());
        let release = world
            .store
            .find_release(&world.app, 1)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(release.state, ReleaseState::Current);
        for line in [
            "Starting process with command `perl server.pl 127.0.0.1 one`",
            "listening on 127.0.0.1",
            "State changed from starting to up",
            "Release v1 is in service",
        ] {
            world.until_log(line).await;
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_is_that_of_the_release_and_the_profile() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        let print = "web: perl server.pl 127.0.0.1 $A \"$B\" $PROFILE $STACK $MAR_APP_ID $HOME $MAR_PROCESS";
        world
            .deploy_with(print, &[("A", "a b"), ("B", "$(id) ;'"), ("HOME", "/x")])
            .await
            .unwrap();
        assert_eq!(
            world.body().await,
            "a b $(id) ;' ab cedar-14 mar-eu-1-ab12cd34 /app web.1"
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_cannot_serve_changes_nothing() {
    for kind in Kind::all() {
        let settings = pilvi_mar::supervisor::Settings {
            boot_timeout: Duration::from_secs(2),
            ..quick()
        };
        let world = World::with(kind, settings).await;
        world.deploy(ONE).await.unwrap();
        for (web, reason) in [
            (
                "echo 'no config' >&2; exit 7",
                "web.1 exited with status 7 before it accepted connections",
            ),
            (
                "true",
                "web.1 exited with status 0 before it accepted connections",
            ),
            ("no-such-program", "web.1 exited with status 127"),
            (
                "echo asleep; sleep 1000",
                "web.1 did not accept connections on $PORT (5000) within 2 seconds",
            ),
        ] {
            let error = world.deploy(&format!("web: {web}\n")).await.unwrap_err();
            assert!(error.message.contains(reason), "{error}");
            assert!(error.message.contains("Release v1 goes on."), "{error}");
            assert_eq!(world.body().await, "one");
        }
        let error = world
            .deploy("web: echo 'no config' >&2; exit 7")
            .await
            .unwrap_err();
        assert!(
            error.message.ends_with("Its last output:\nno config"),
            "{error}"
        );
        world.settled().await;
        assert_eq!(world.states().await, ["web.1 running"]);
        let failed = world
            .store
            .find_release(&world.app, 2)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(failed.state, ReleaseState::Failed);
        let app = world.store.find_app(&world.app).await.unwrap().unwrap();
        assert_eq!(app.release, Some(1));
        world.until_log("Error R10 (Boot timeout)").await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_may_listen_on_any_address_of_its_own() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        for address in ["::1", "0.0.0.0", "127.0.0.1", "::"] {
            world
                .deploy(&format!("web: perl server.pl {address} from {address}"))
                .await
                .unwrap();
            assert_eq!(world.body().await, format!("from {address}"));
        }
        world.stop().await;
    }
}

/// How often a client was answered, and what it got instead of an answer.
type Answers = (u32, Vec<String>);

#[derive(Clone, Copy, Debug)]
enum Client {
    NewConnections,
    OneConnection,
}

impl Client {
    /// Asks all the time until it is told to stop.
    async fn ask(
        self,
        router: SocketAddr,
        app: AppId,
        path: &str,
        stop: Arc<AtomicBool>,
    ) -> Answers {
        let (mut answered, mut failed) = (0, Vec::new());
        let mut kept = None;
        while !stop.load(Ordering::Relaxed) {
            let reply = match self {
                Self::NewConnections => get(router, &app, path).await,
                Self::OneConnection => get_over(&mut kept, router, &app, path).await,
            };
            match reply {
                Ok((200, _)) => answered += 1,
                other => failed.push(format!("{self:?}: {other:?}")),
            }
        }
        (answered, failed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_releases_follow_each_other() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        world.deploy(ONE).await.unwrap();
        world.scale(&[("web", 2)]).await;
        world.settled().await;
        let stop = Arc::new(AtomicBool::new(false));
        let clients = [
            ("/", Client::NewConnections),
            ("/", Client::NewConnections),
            ("/slow", Client::NewConnections),
            ("/", Client::OneConnection),
        ];
        let clients = clients.map(|(path, client)| {
            let asking = client.ask(world.router, world.app.clone(), path, Arc::clone(&stop));
            #[expect(clippy::disallowed_methods, reason = "the test waits for it itself")]
            tokio::spawn(asking)
        });
        for number in 0..20 {
            world
                .deploy(&format!("web: perl server.pl 127.0.0.1 release {number}"))
                .await
                .unwrap();
            assert_eq!(world.body().await, format!("release {number}"));
        }
        world.supervisor.restart(&world.app).await.unwrap();
        world.settled().await;
        stop.store(true, Ordering::Relaxed);
        let mut answered = 0;
        for client in clients {
            let (count, failed) = client.await.unwrap();
            assert!(
                failed.is_empty(),
                "{} of {count}: {:?}",
                failed.len(),
                failed.first()
            );
            answered += count;
        }
        assert!(answered > 100, "{answered}");
        println!("{kind:?}: {answered} requests over 20 releases and a restart, none failed");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_request_is_finished_by_the_process_that_has_it() {
    for kind in Kind::all() {
        let world = Arc::new(World::new(kind).await);
        world.deploy(ONE).await.unwrap();
        let (router, app) = (world.router, world.app.clone());
        #[expect(clippy::disallowed_methods, reason = "the test waits for it itself")]
        let slow = tokio::spawn(async move { get(router, &app, "/slow").await });
        world
            .deploy("web: perl server.pl 127.0.0.1 two")
            .await
            .unwrap();
        let (status, body) = slow.await.unwrap().unwrap();
        assert_eq!(status, 200);
        assert!(body == "one" || body == "two", "{body}");
        Arc::into_inner(world).unwrap().stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_that_vanish_stop_and_the_others_keep_their_counts() {
    for kind in Kind::all() {
        let world = World::new(kind).await;
        world
            .deploy("web: perl server.pl 127.0.0.1 one\nworker: sleep 1000\nclock: sleep 1000")
            .await
            .unwrap();
        world
            .scale(&[("web", 2), ("worker", 1), ("clock", 1)])
            .await;
        world.settled().await;
        world
            .deploy("web: perl server.pl 127.0.0.1 two\nworker: sleep 2000\nnew: sleep 1")
            .await
            .unwrap();
        world.settled().await;
        assert_eq!(
            world.states().await,
            ["web.1 running", "web.2 running", "worker.1 running"]
        );
        assert!(world.status().await.iter().all(|row| row.release == 2));
        world.stop().await;
    }
}

struct Ticks(AtomicU32);

impl Progress for Ticks {
    fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_deploy_hears_that_it_goes_on() {
    let world = World::new(Kind::Plain).await;
    let ticks = Ticks(AtomicU32::new(0));
    let release = world
        .release(
            &world.app,
            "web: sleep 2.2; perl server.pl 127.0.0.1 late",
            &[],
        )
        .await;
    world
        .supervisor
        .deploy(&world.app, release, &ticks)
        .await
        .unwrap();
    assert!(ticks.0.load(Ordering::Relaxed) >= 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_of_one_app_follow_each_other() {
    let world = World::new(Kind::Plain).await;
    let mut releases = Vec::new();
    for number in 0..4 {
        releases.push(
            world
                .release(
                    &world.app,
                    &format!("web: perl server.pl 127.0.0.1 {number}"),
                    &[],
                )
                .await,
        );
    }
    let deploys = releases
        .iter()
        .map(|release| world.supervisor.deploy(&world.app, *release, &()));
    for outcome in futures_util::future::join_all(deploys).await {
        outcome.unwrap();
    }
    assert_eq!(world.body().await, "3");
    assert!(!world.supervisor.is_deploying(&world.app).await.unwrap());
    world.until_state("web.1", ProcessState::Running).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_without_web_is_in_service_at_once() {
    let world = World::new(Kind::Plain).await;
    world.deploy("worker: sleep 1000").await.unwrap();
    world.scale(&[("worker", 2)]).await;
    world.settled().await;
    assert_eq!(
        world.states().await,
        ["worker.1 running", "worker.2 running"]
    );
    assert_eq!(world.get("/").await.unwrap().0, 503);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_without_a_release_says_that_nothing_was_deployed() {
    let world = World::new(Kind::Plain).await;
    let never_deployed = async || {
        let (status, page) = world.get("/").await.unwrap();
        assert_eq!(status, 503);
        assert!(page.contains("Nothing has been deployed"), "{page}");
    };
    world.supervisor.apply(&world.app).await.unwrap();
    never_deployed().await;
    world.deploy("web: exit 1").await.unwrap_err();
    never_deployed().await;
    world.settled().await;
    assert!(world.states().await.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_whose_slug_is_not_there_is_refused() {
    let world = World::new(Kind::Plain).await;
    world.deploy(ONE).await.unwrap();
    let release = world.release(&world.app, ONE, &[]).await;
    std::fs::remove_file(world.folders.tarball(&world.app, 2)).unwrap();
    let error = world
        .supervisor
        .deploy(&world.app, release, &())
        .await
        .unwrap_err();
    assert!(error.message.contains("could not be made ready"), "{error}");
    assert_eq!(world.body().await, "one");
    let error = world
        .supervisor
        .deploy(&world.app, 99, &())
        .await
        .unwrap_err();
    assert!(error.message.contains("v99 is not there"), "{error}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_a_failed_deploy_overtook_still_happens() {
    let world = World::new(Kind::Plain).await;
    world.deploy(ONE).await.unwrap();
    let before = world.status().await.remove(0).started_at;
    world.supervisor.restart(&world.app).await.unwrap();
    world.deploy("web: exit 1").await.unwrap_err();
    world.settled().await;
    assert_eq!(world.states().await, ["web.1 running"]);
    assert!(world.status().await.remove(0).started_at > before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_outlives_a_release_until_patience_is_over() {
    for kind in Kind::all() {
        let settings = pilvi_mar::supervisor::Settings {
            drain_patience: Duration::from_secs(2),
            ..quick()
        };
        let world = World::with(kind, settings).await;
        world.deploy(ONE).await.unwrap();
        let mut socket = BufReader::new(TcpStream::connect(world.router).await.unwrap());
        let head = format!(
            "GET /socket HTTP/1.1\r\nHost: {}.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
            world.app
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(socket.read_line(&mut line).await.unwrap() > 0);
        }

        world
            .deploy("web: perl server.pl 127.0.0.1 two")
            .await
            .unwrap();
        let switched = Instant::now();

        assert_eq!(world.body().await, "two");
        socket.write_all(b"still there\n").await.unwrap();
        line.clear();
        socket.read_line(&mut line).await.unwrap();
        assert_eq!(line, "one: still there\n");
        let _ = socket.read_to_string(&mut line).await;
        let lasted = switched.elapsed();
        assert!(
            lasted > Duration::from_secs(1) && lasted < Duration::from_secs(6),
            "{lasted:?}"
        );
        world.settled().await;
        world.stop().await;
    }
}
