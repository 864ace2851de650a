//! Unpacks what was pushed.

use std::collections::BTreeMap;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use super::outcome::{Failed, Step};
use super::workshop::{BUILD, HOME, Task, To, VARS, Workshop, feed};
use super::{Source, Voice};

/// Both places hold the source, as the original builder had it. The names of the config vars are its arguments; their
/// values it has in its environment, so that they never touch the disk.
const UNPACK: &str = r#"
set -eu
tar -x -f - --no-same-owner -C "$1"
cp -a "$1/." "$2/"
mkdir -p "$2/.profile.d"
vars_folder=$3
shift 3
for _of_pilvi in "$@"; do
    printf %s "${!_of_pilvi-}" >"$vars_folder/$_of_pilvi"
done
"#;

/// Lays the source out at `/app` and `/tmp/build`, and the config vars in their folder.
pub(super) async fn unpack(
    workshop: &mut Workshop,
    source: Source,
    vars: &BTreeMap<String, String>,
    voice: &mut Voice,
) -> Result<(), Failed> {
    let step = Step::Unpack;
    let (sender, stdin) = feed().map_err(Failed::machine(step.clone()))?;
    let fixed = ["bash", "-c", UNPACK, "unpack", HOME, BUILD, VARS];
    let argv = fixed.into_iter().map(str::to_owned);
    let task = Task {
        step: &step,
        argv: argv.chain(vars.keys().cloned()).collect(),
        stdin: Some(stdin),
        stdout: To::Voice,
    };
    let pumped = async {
        pump(source, sender)
            .await
            .map_err(Failed::machine(Step::Unpack))
    };
    let (exit, ()) = tokio::try_join!(workshop.perform(task, voice), pumped)?;
    workshop.succeeded(&step, exit)
}

/// Hands the source on. It is read to its end even when nobody takes it any more, because only the end says whether it
/// was whole.
async fn pump(mut source: Source, sender: pipe::Sender) -> io::Result<()> {
    let mut sender = Some(sender);
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = source.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        if let Some(open) = &mut sender {
            match open.write_all(&piece[..read]).await {
                // The reader has seen the end of the archive, or has failed, which its exit code says.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => sender = None,
                written => written?,
            }
        }
    }
}
