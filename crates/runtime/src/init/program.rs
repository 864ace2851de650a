//! Starting a program in the sandbox, from its init.

use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};

use rustix::process::{
    Pid, Resource, Rlimit, WaitOptions, chdir, setrlimit, setsid, umask, waitpid,
};

use super::prepare::Streams;
use super::signals;
use crate::protocol::{Bounds, During, Program, Refusal};
use crate::wire::{Reader, Writer};

/// A program in the words of the kernel.
struct Call {
    /// The paths to try in turn.
    paths: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
}

/// Starts a program and returns once it runs; when it cannot run, the child is gone.
pub(super) fn start(program: &Program, streams: &Streams, bounds: Bounds) -> Result<Pid, Refusal> {
    let call = Call::new(program).during("read what to start")?;
    let (reader, writer) = io::pipe().during("start a program")?;
    let Some(child) = fork().during("start a program")? else {
        let refusal = become_program(&call, streams, bounds);
        tell(writer, &refusal);
        exit_at_once(127);
    };
    drop(writer);
    // The other end closes when the program takes over, or with the child.
    match hear(reader) {
        None => Ok(child),
        Some(refusal) => {
            let _ = waitpid(Some(child), WaitOptions::empty());
            Err(refusal)
        }
    }
}

impl Call {
    fn new(program: &Program) -> io::Result<Self> {
        let name = program.argv.first().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "there is no program to start")
        })?;
        let c_string = |text: &str| CString::new(text).map_err(io::Error::from);
        let pair = |(name, value): &(String, String)| c_string(&format!("{name}={value}"));
        Ok(Self {
            paths: candidates(name, &program.env)
                .iter()
                .map(|path| c_string(path))
                .collect::<Result<_, _>>()?,
            argv: program
                .argv
                .iter()
                .map(|word| c_string(word))
                .collect::<Result<_, _>>()?,
            env: program.env.iter().map(pair).collect::<Result<_, _>>()?,
            cwd: c_string(&program.cwd)?,
        })
    }
}

/// Where a program of this name may lie.
fn candidates(name: &str, env: &[(String, String)]) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let path = env.iter().find(|(variable, _)| variable == "PATH");
    let path = path.map_or("/usr/bin:/bin", |(_, value)| value.as_str());
    let folders = path.split(':').filter(|folder| !folder.is_empty());
    folders.map(|folder| format!("{folder}/{name}")).collect()
}

/// In the child: becomes the program. Returns only when it cannot.
fn become_program(call: &Call, streams: &Streams, bounds: Bounds) -> Refusal {
    match settle(call, streams, bounds) {
        Ok(()) => Refusal::new(
            format!("start {}", call.argv[0].to_string_lossy()),
            &execute(call),
        ),
        Err(refusal) => refusal,
    }
}

fn settle(call: &Call, streams: &Streams, bounds: Bounds) -> Result<(), Refusal> {
    setsid().during("start a session for a program")?;
    signals::as_usual().during("reset the signals of a program")?;
    connect(streams).during("connect the standard streams of a program")?;
    bound(bounds).during("limit a program")?;
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    let step = || format!("go to the folder {}", call.cwd.to_string_lossy());
    chdir(&call.cwd).during_with(step)
}

fn connect([stdin, stdout, stderr]: &Streams) -> io::Result<()> {
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    Ok(rustix::stdio::dup2_stderr(stderr)?)
}

fn bound(bounds: Bounds) -> io::Result<()> {
    let wanted = [
        (Resource::Nofile, bounds.files),
        (Resource::Fsize, bounds.file_bytes),
        // Counted within the user namespace: it holds also where no cgroup counts.
        (Resource::Nproc, bounds.pids),
        (Resource::Data, bounds.data_bytes.unwrap_or(u64::MAX)),
        (Resource::Core, 0),
        (Resource::Memlock, 64 << 10),
        (Resource::Msgqueue, 800 << 10),
    ];
    for (resource, wanted) in wanted {
        // What the server itself may not exceed, nobody below it may.
        let most = rustix::process::getrlimit(resource)
            .maximum
            .unwrap_or(u64::MAX);
        let value = Some(wanted.min(most)).filter(|value| *value != u64::MAX);
        let limit = Rlimit {
            current: value,
            maximum: value,
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}

/// Tries each path as a shell does. Returns only with an error.
fn execute(call: &Call) -> io::Error {
    let mut telling = io::Error::from(io::ErrorKind::NotFound);
    for path in &call.paths {
        let error = execve(path, &call.argv, &call.env);
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
            io::ErrorKind::PermissionDenied => telling = error,
            _ => return error,
        }
    }
    match telling.raw_os_error() {
        None => io::Error::from_raw_os_error(libc::ENOENT),
        Some(_) => telling,
    }
}

#[expect(
    unsafe_code,
    reason = "rustix keeps execve for programs without a C library"
)]
fn execve(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |words: &[CString]| -> Vec<*const libc::c_char> {
        words
            .iter()
            .map(|word| word.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both lists end with a null pointer, and point to C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// None in the child.
#[expect(
    unsafe_code,
    reason = "the init has one thread, so its child may do everything"
)]
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: an init has one thread, so no lock is held by a thread that the child lacks.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(Pid::from_raw(pid))
    }
}

/// Ends this process without any clean-up of what it shares with its parent.
#[expect(
    unsafe_code,
    reason = "the standard library ends a process with its clean-up only"
)]
pub(super) fn exit_at_once(code: i32) -> ! {
    // SAFETY: it takes a number and does not return.
    unsafe { libc::_exit(code) }
}

fn tell(mut writer: io::PipeWriter, refusal: &Refusal) {
    let mut message = Writer::new();
    refusal.write(&mut message);
    // If this fails the parent hears nothing and reports a program that ends with 127.
    let _ = writer.write_all(&message.finish());
}

fn hear(mut reader: io::PipeReader) -> Option<Refusal> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).ok()?;
    Refusal::read(&mut Reader::new(&bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_its_own_path() {
        let env = [("PATH".to_owned(), "/app/bin::/usr/bin".to_owned())];
        assert_eq!(candidates("node", &env), ["/app/bin/node", "/usr/bin/node"]);
        assert_eq!(candidates("./run", &env), ["./run"]);
        assert_eq!(candidates("sh", &[]), ["/usr/bin/sh", "/bin/sh"]);
    }

    #[test]
    fn nothing_to_start_and_inner_nulls_are_refused() {
        for argv in [vec![], vec![""], vec!["a\0b"]] {
            let program = Program {
                argv: argv.into_iter().map(str::to_owned).collect(),
                ..Program::default()
            };
            assert!(Call::new(&program).is_err());
        }
    }
}
