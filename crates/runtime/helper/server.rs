//! A server that starts one sandbox: the word that it prints when the program runs is all that a test needs.

use std::io::{BufRead, BufReader, PipeReader};

use pilvi_runtime::{Limits, NetworkSettings, Runtime, Settings, Spec, Stacks};

/// Runs `argv` in a sandbox, tells what it printed and how it ended.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
pub(crate) fn serve(folder: &str, prefix: &str, argv: &[&str]) {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    tokio.expect("threads can be started").block_on(async {
        let exe = std::env::current_exe().expect("this program has a path");
        let settings = Settings {
            folder: folder.into(),
            helper: vec![exe.into(), "sandbox".into()],
            prefix: prefix.to_owned(),
            required: Vec::new(),
            network: NetworkSettings::default(),
            doors: Vec::new(),
        };
        let runtime = Runtime::start(settings).await.expect("the runtime starts");
        let (output, spec) = spec(folder, argv);
        let reading = std::thread::spawn(move || tell(output));
        match runtime.launch(spec).await {
            Ok(sandbox) => {
                println!("started");
                println!("ended {:?}", sandbox.exited().await.ending);
            }
            Err(failure) => println!("{}", failure.sentence()),
        }
        runtime.stop().await;
        reading.join().expect("the reader does not panic");
    });
}

fn spec(folder: &str, argv: &[&str]) -> (PipeReader, Spec) {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let errors = writer.try_clone().expect("a descriptor is free");
    let stack = Stacks::open(format!("{folder}/stacks"))
        .host()
        .expect("the host has programs");
    let spec = Spec {
        name: "served".into(),
        uid: 200_099,
        stack,
        mounts: Vec::new(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        limits: Limits::default(),
        network: false,
        hostname: "served".into(),
        stdin: None,
        stdout: writer.into(),
        stderr: errors.into(),
    };
    (reader, spec)
}

#[expect(clippy::print_stdout, reason = "its parent reads it")]
fn tell(output: PipeReader) {
    // By whole lines, which do not mix with what the other thread says.
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        println!("{line}");
    }
}
