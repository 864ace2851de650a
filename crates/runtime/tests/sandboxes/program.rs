//! What a program meets: its arguments, environment, streams, user, folder; and how its end is told.

use std::io::Write;

use pilvi_runtime::Ending;

use crate::world::{World, is_possible};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_exactly_the_environment_that_is_given() {
    if !is_possible() {
        return;
    }
    let world = World::new("environment").await;
    let (mut spec, output) = world.spec(&["env"]);
    spec.env = [("PATH", "/usr/bin"), ("SECRET", "a b\nc"), ("EMPTY", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let exit = world.launch(spec).await.exited().await;
    assert_eq!(output.text(), "PATH=/usr/bin\nSECRET=a b\nc\nEMPTY=\n");
    assert_eq!((exit.ending, exit.out_of_memory), (Ending::Code(0), false));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_its_arguments_streams_and_folder() {
    if !is_possible() {
        return;
    }
    let world = World::new("streams").await;
    let (mut spec, output) = world.spec(&[
        "sh",
        "-c",
        "pwd; cat; echo \"$0 $1\" >&2; exit 7",
        "a b",
        "ç",
    ]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"from outside\n").unwrap();
    drop(writer);
    spec.stdin = Some(reader.into());
    spec.cwd = "/tmp".into();
    let exit = world.launch(spec).await.exited().await;
    assert_eq!(output.text(), "/tmp\nfrom outside\na b ç\n");
    assert_eq!(exit.ending, Ending::Code(7));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_sees_itself_and_little_more() {
    if !is_possible() {
        return;
    }
    let world = World::new("view").await;
    let line = "id -u; id -g; id -G; hostname; ls /; ls /dev; ls /proc | grep -c '^[0-9]'; cat /proc/self/cgroup; \
                ulimit -n; umask; ls /proc/self/fd | wc -l; cat < /dev/null; echo again > /dev/stdout; \
                head -c 3 /dev/zero | wc -c; trap";
    let (_, text) = world.shell(line).await;
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.contains("::") && !line.contains(":/"))
        .collect();
    let root = [
        "bin", "dev", "etc", "lib", "lib64", "probe", "proc", "sbin", "sys", "tmp", "usr",
    ];
    let devices = [
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    let start = [
        &["5000", "5000", "5000", "web-1"],
        root.as_slice(),
        &devices,
    ]
    .concat();
    let root_of_host = lines
        .iter()
        .filter(|line| !["lib32", "libx32", "libo32"].contains(line));
    let seen: Vec<&str> = root_of_host.copied().collect();
    assert_eq!(seen[..start.len()], start, "{text}");
    // Init, the shell, ls and grep; the bound on files; the mask; four descriptors, one of them ls's own.
    assert_eq!(
        seen[start.len()..],
        ["4", "10000", "0022", "4", "again", "3"],
        "{text}"
    );
    // Of cgroups it sees only its own as their top.
    let groups: Vec<_> = text.lines().filter(|line| line.contains(":/")).collect();
    assert!(
        !groups.is_empty() && groups.iter().all(|line| line.ends_with(":/"))
            || !text.contains(&world.prefix)
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_by_a_signal_is_told_as_such() {
    if !is_possible() {
        return;
    }
    let world = World::new("signal").await;
    let (exit, _) = world.shell("kill -USR1 $$").await;
    assert_eq!(exit.ending, Ending::Signal(libc::SIGUSR1));
    assert_eq!(exit.code(), 128 + libc::SIGUSR1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_the_program_and_its_children() {
    if !is_possible() {
        return;
    }
    let world = World::new("signalled").await;
    let child = "trap \"echo child; exit\" TERM; echo up; while :; do sleep 0.1; done";
    let parent = format!("trap 'wait; echo bye; exit 3' TERM; sh -c '{child}' & wait");
    let (mut spec, output) = world.spec(&["sh", "-c", &parent]);
    let (reader, writer) = std::io::pipe().unwrap();
    let (_, _, stderr) = crate::world::Output::new();
    spec.stdout = writer.into();
    spec.stderr = stderr;
    drop(output);
    let sandbox = world.launch(spec).await;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    sandbox.signal(libc::SIGTERM).await;
    assert_eq!(sandbox.exited().await.ending, Ending::Code(3));
    let last: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(last, ["child", "bye"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_fails_says_at_which_step_and_leaves_nothing() {
    if !is_possible() {
        return;
    }
    let world = World::new("failing").await;
    let failure = async |change: fn(&mut pilvi_runtime::Spec)| {
        let (mut spec, _) = world.spec(&["true"]);
        change(&mut spec);
        world.runtime.launch(spec).await.unwrap_err().sentence()
    };
    let missing = "No such file or directory (os error 2).";
    assert_eq!(
        failure(|spec| spec.argv = vec!["no-such-program".into()]).await,
        format!("The sandbox could not start no-such-program: {missing}")
    );
    assert_eq!(
        failure(|spec| spec.argv = vec!["/etc/passwd".into()]).await,
        "The sandbox could not start /etc/passwd: Permission denied (os error 13)."
    );
    assert_eq!(
        failure(|spec| spec.cwd = "/nowhere".into()).await,
        format!("The sandbox could not go to the folder /nowhere: {missing}")
    );
    assert_eq!(
        failure(|spec| spec.mounts[0].at = "/usr/bin/not-there/x".into()).await,
        "The sandbox could not put /usr/bin/not-there/x in its place: Read-only file system (os error 30)."
    );
    assert_eq!(
        failure(|spec| spec.mounts[0].at = "/../etc".into()).await,
        "The sandbox could not be planned: /../etc is no plain absolute path."
    );
    assert_eq!(
        failure(|spec| {
            let path = "/no/such/folder".into();
            spec.mounts[0].from = pilvi_runtime::From::Folder {
                path,
                writable: true,
            };
        })
        .await,
        format!("The sandbox could not take /no/such/folder from the host: {missing}")
    );
    assert_eq!(
        failure(|spec| spec.argv = vec![]).await,
        "The sandbox could not read what to start: there is no program to start."
    );
    assert_eq!(crate::world::processes_of(&world.prefix), Vec::<u32>::new());
    assert_eq!(
        crate::world::groups_of(&world.prefix),
        Vec::<std::path::PathBuf>::new()
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn much_environment_and_long_arguments_pass() {
    if !is_possible() {
        return;
    }
    let world = World::new("long").await;
    let long = "x".repeat(100_000);
    let (mut spec, output) =
        world.spec(&["sh", "-c", "echo ${#1} ${#V7}; env | wc -c", "sh", &long]);
    spec.env
        .extend((0..10).map(|number| (format!("V{number}"), long.clone())));
    world.launch(spec).await.exited().await;
    let text = output.text();
    assert!(text.starts_with("100000 100000\n"), "{text}");
    let bytes: usize = text.lines().nth(1).unwrap().parse().unwrap();
    assert!(bytes > 1_000_000);
    world.end().await;
}
