//! One version after the other under constant load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pilvi_e2e::http::Request;
use pilvi_e2e::line::Line;

use crate::world::World;

/// Redeploys in the gate; `PILVI_REDEPLOYS` sets another number.
const REDEPLOYS: usize = 3;
const CLIENTS: usize = 4;

#[test]
fn no_request_fails_while_versions_change() {
    let Some((world, server)) = World::new(&[]) else {
        return;
    };
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed: Vec<String> = std::thread::scope(|scope| {
        let load = || {
            let mut failed = Vec::new();
            let mut line = Line::to(world.http());
            let request = Request::get("/").header("Host", world.app.host());
            while !done.load(Ordering::SeqCst) {
                match line.ask(&request) {
                    Some(reply) if reply.status == 200 => {
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                    Some(reply) => failed.push(format!("{} {}", reply.status, reply.text())),
                    None => failed.push("the connection broke".to_owned()),
                }
            }
            failed
        };
        let clients = [(); CLIENTS].map(|()| scope.spawn(load));
        let deployed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 0..redeploys() {
                world.source.write("version", &format!("{}\n", number + 2));
                world.app.deploy(&world.source);
                world.must_serve(&(number + 2).to_string());
            }
        }));
        done.store(true, Ordering::SeqCst);
        let failed = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap());
        let failed = failed.collect();
        deployed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        failed
    });
    let answered = answered.into_inner();
    println!(
        "{} redeploys, {answered} requests, {} failed",
        redeploys(),
        failed.len()
    );
    assert!(
        answered > 100 * redeploys(),
        "there was no load: {answered}"
    );
    assert_eq!(failed, Vec::<String>::new());
    world.must_be_in_order(server);
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are started from outside like a door"
)]
fn redeploys() -> usize {
    match std::env::var("PILVI_REDEPLOYS") {
        Ok(text) => text.parse().expect("PILVI_REDEPLOYS is a number"),
        Err(_) => REDEPLOYS,
    }
}
