//! Our own doors, as programs inside see them.

use pilvi_runtime::Door;
use tokio::io::AsyncReadExt;

use crate::world::{World, is_possible};

#[tokio::test(flavor = "multi_thread")]
async fn a_door_is_reached_by_its_name_and_tells_who_came() {
    if !is_possible() {
        return;
    }
    let door = |port| Door {
        port,
        names: vec!["api.example.test".into()],
    };
    let world = World::with_doors("doors", vec![door(80), door(443)]).await;
    let line = "exec 3<>/dev/tcp/api.example.test/443; echo knock >&3; cat <&3";
    let (mut spec, output) = world.spec(&["bash", "-c", line]);
    spec.name = "app/worker.2".into();
    let sandbox = world.launch(spec).await;
    let arrival = world.runtime.accepted().await.unwrap();
    assert_eq!(
        (arrival.port, arrival.sandbox.as_str()),
        (443, "app/worker.2")
    );
    let mut stream = arrival.stream;
    let mut knock = [0; 6];
    stream.read_exact(&mut knock).await.unwrap();
    assert_eq!(&knock, b"knock\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"come in\n")
        .await
        .unwrap();
    drop(stream);
    sandbox.exited().await;
    assert_eq!(output.text(), "come in\n");
    let runtime = world.runtime.clone();
    world.end().await;
    assert!(runtime.accepted().await.is_none());
}
