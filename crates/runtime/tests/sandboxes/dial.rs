//! Reaching servers inside.

use std::io;
use std::time::Duration;

use pilvi_runtime::Sandbox;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::world::{HELPER_INSIDE, World, is_possible};

async fn dial(sandbox: &Sandbox) -> io::Result<TcpStream> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        match sandbox.dial(8080).await {
            Err(error)
                if error.kind() == io::ErrorKind::ConnectionRefused
                    && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            outcome => return outcome,
        }
    }
}

async fn word(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_reached_wherever_it_listens() {
    if !is_possible() {
        return;
    }
    let world = World::new("dial").await;
    for address in ["127.0.0.1:8080", "0.0.0.0:8080", "[::1]:8080", "[::]:8080"] {
        let (mut spec, output) = world.spec(&[HELPER_INSIDE, "greet", address]);
        spec.name = format!("app/{address}");
        let sandbox = world.launch(spec).await;
        assert_eq!(
            word(dial(&sandbox).await.unwrap()).await,
            "hello",
            "{address}"
        );
        // More than are kept ready, one after the other and all at once.
        for _ in 0..20 {
            assert_eq!(
                word(sandbox.dial(8080).await.unwrap()).await,
                "hello",
                "{address}"
            );
        }
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let sandbox = sandbox.clone();
            all.spawn(async move { word(sandbox.dial(8080).await.unwrap()).await });
        }
        assert!(
            all.join_all().await.iter().all(|word| word == "hello"),
            "{address}"
        );
        sandbox.kill().await;
        assert_eq!(output.text(), "", "{address}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_and_a_sandbox_that_has_ended_refuse() {
    if !is_possible() {
        return;
    }
    let world = World::new("dial-refused").await;
    let (spec, _) = world.spec(&["sleep", "1000"]);
    let sandbox = world.launch(spec).await;
    for _ in 0..30 {
        let refused = sandbox.dial(8080).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    sandbox.kill().await;
    for _ in 0..30 {
        let refused = sandbox.dial(8080).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_while_a_program_ends_do_not_hide_how_it_ended() {
    if !is_possible() {
        return;
    }
    let world = World::new("dial-ends").await;
    for _ in 0..20 {
        let (spec, _) = world.spec(&["sh", "-c", "exit 5"]);
        let sandbox = world.launch(spec).await;
        let caller = sandbox.clone();
        let calls =
            async move { while caller.exit().is_none() && caller.dial(8080).await.is_err() {} };
        let (exit, ()) = tokio::join!(sandbox.exited(), calls);
        assert_eq!(exit.ending, pilvi_runtime::Ending::Code(5));
    }
    world.end().await;
}
