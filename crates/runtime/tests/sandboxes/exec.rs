//! Other programs in a running sandbox.

use pilvi_runtime::{Ending, Exit};

use crate::world::{World, exec, exec_to_end, is_possible};

#[tokio::test(flavor = "multi_thread")]
async fn another_program_shares_the_sandbox_but_not_the_streams() {
    if !is_possible() {
        return;
    }
    let world = World::new("exec").await;
    let (spec, output) = world.spec(&["sh", "-c", "echo first; exec sleep 1000"]);
    let sandbox = world.launch(spec).await;
    let (exit, text) = exec_to_end(
        &sandbox,
        &[
            "sh",
            "-c",
            "ps -eo args | grep -c '^sleep 1000'; id -u; exit 5",
        ],
    )
    .await;
    assert_eq!((exit.ending, text.as_str()), (Ending::Code(5), "1\n5000\n"));
    let (exit, text) = exec_to_end(
        &sandbox,
        &[
            "grep",
            "-E",
            "^(CapEff|CapBnd|NoNewPrivs|Seccomp):",
            "/proc/self/status",
        ],
    )
    .await;
    assert_eq!(exit.ending, Ending::Code(0));
    assert_eq!(
        text,
        "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    );
    assert_eq!(sandbox.exit(), None);
    sandbox.kill().await;
    assert_eq!(output.text(), "first\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_run_at_once_and_each_end_is_told_to_its_own() {
    if !is_possible() {
        return;
    }
    let world = World::new("execs").await;
    let (spec, _) = world.spec(&["sleep", "1000"]);
    let sandbox = world.launch(spec).await;
    let mut running = Vec::new();
    for number in 0..30 {
        let (order, output) = exec(&["sh", "-c", &format!("echo {number}; exit {number}")]);
        running.push((number, sandbox.exec(order).await.unwrap(), output));
    }
    for (number, execution, output) in running {
        assert_eq!(execution.exited().await.ending, Ending::Code(number));
        assert_eq!(output.text(), format!("{number}\n"));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_start_or_is_killed_leaves_the_sandbox_running() {
    if !is_possible() {
        return;
    }
    let world = World::new("exec-fails").await;
    let (spec, _) = world.spec(&["sleep", "1000"]);
    let sandbox = world.launch(spec).await;
    let (order, _) = exec(&["nothing-of-this-name"]);
    let failure = sandbox.exec(order).await.unwrap_err();
    assert_eq!(failure.step, "start nothing-of-this-name");
    let (order, output) = exec(&["sh", "-c", "sleep 1000 & sleep 1000"]);
    let execution = sandbox.exec(order).await.unwrap();
    execution.kill().await;
    assert_eq!(
        execution.exited().await.ending,
        Ending::Signal(libc::SIGKILL)
    );
    assert_eq!(output.text(), "");
    assert_eq!(sandbox.exit(), None);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_sandbox_ends_them_and_later_ones_are_refused() {
    if !is_possible() {
        return;
    }
    let world = World::new("exec-ends").await;
    let (spec, _) = world.spec(&["sleep", "1000"]);
    let sandbox = world.launch(spec).await;
    let (order, _) = exec(&["sleep", "1000"]);
    let execution = sandbox.exec(order).await.unwrap();
    let killed = Exit {
        ending: Ending::Signal(libc::SIGKILL),
        out_of_memory: false,
    };
    assert_eq!(sandbox.kill().await, killed);
    assert_eq!(execution.exited().await, killed);
    let (order, _) = exec(&["true"]);
    let refused = sandbox.exec(order).await.unwrap_err();
    assert_eq!(
        refused.sentence(),
        "The sandbox could not start a program: the sandbox has ended."
    );
    sandbox.signal(libc::SIGTERM).await;
    assert_eq!(sandbox.kill().await, killed);
    world.end().await;
}
