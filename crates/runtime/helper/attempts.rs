//! What a hostile program tries. Each attempt prints one line: its name, and `allowed` or the error.
#![expect(unsafe_code, reason = "a hostile program calls the kernel as it likes")]
#![expect(clippy::print_stdout, reason = "the test reads it")]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use libc::{c_long, syscall};

/// The init of the sandbox.
const INIT: c_long = 1;

/// Tries everything that must fail whatever the arguments of the sandbox are.
pub(crate) fn all() {
    new_namespaces();
    other_processes();
    file_systems();
    kernel();
    sockets();
    privileges();
    files();
}

fn new_namespaces() {
    let namespaces = [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("net", libc::CLONE_NEWNET),
        ("pid", libc::CLONE_NEWPID),
        ("time", 0x80),
    ];
    for (name, flag) in namespaces {
        call(&format!("unshare {name}"), || unsafe {
            syscall(libc::SYS_unshare, flag)
        });
    }
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    call("clone user", || unsafe {
        child_ends(syscall(libc::SYS_clone, flags, 0, 0, 0, 0))
    });
    call("clone3 user", || unsafe {
        let mut arguments = [0_u64; 8];
        arguments[0] = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
        arguments[4] = u64::from(libc::SIGCHLD.unsigned_abs());
        child_ends(syscall(libc::SYS_clone3, arguments.as_ptr(), 64))
    });
    call("setns init", || unsafe {
        let handle = syscall(libc::SYS_pidfd_open, INIT, 0);
        syscall(libc::SYS_setns, handle, libc::CLONE_NEWNS)
    });
}

fn other_processes() {
    call("ptrace attach init", || unsafe {
        syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, INIT, 0, 0)
    });
    call("ptrace seize init", || unsafe {
        syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, INIT, 0, 0)
    });
    let mut byte = 0_u8;
    let own = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let vectors = &raw const own;
    call("process_vm_readv init", || unsafe {
        syscall(libc::SYS_process_vm_readv, INIT, vectors, 1, vectors, 1, 0)
    });
    call("process_vm_writev init", || unsafe {
        syscall(libc::SYS_process_vm_writev, INIT, vectors, 1, vectors, 1, 0)
    });
    call("prlimit init", || unsafe {
        let limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        syscall(
            libc::SYS_prlimit64,
            INIT,
            libc::RLIMIT_NOFILE,
            &raw const limit,
            0,
        )
    });
    call("pidfd_getfd init", || unsafe {
        let handle = syscall(libc::SYS_pidfd_open, INIT, 0);
        syscall(libc::SYS_pidfd_getfd, handle, 0, 0)
    });
    call("kcmp init", || unsafe {
        syscall(libc::SYS_kcmp, INIT, INIT, 0, 0, 0)
    });
    for signal in [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGTERM,
        libc::SIGSEGV,
        libc::SIGCHLD,
    ] {
        // The kernel takes them, and drops those that the init does not want: it must live on.
        unsafe { libc::kill(1, signal) };
    }
    println!("signals to init: sent");
    call("kill the highest process", || unsafe {
        c_long::from(libc::kill(4_194_303, 0))
    });
}

fn file_systems() {
    call("mount tmpfs", || unsafe {
        syscall(
            libc::SYS_mount,
            c"x".as_ptr(),
            c"/tmp".as_ptr(),
            c"tmpfs".as_ptr(),
            0,
            0,
        )
    });
    call("mount proc", || unsafe {
        syscall(
            libc::SYS_mount,
            c"x".as_ptr(),
            c"/tmp".as_ptr(),
            c"proc".as_ptr(),
            0,
            0,
        )
    });
    call("remount root writable", || unsafe {
        let flags = libc::MS_REMOUNT | libc::MS_BIND;
        syscall(libc::SYS_mount, 0, c"/usr".as_ptr(), 0, flags, 0)
    });
    call("umount /proc/sys", || unsafe {
        syscall(libc::SYS_umount2, c"/proc/sys".as_ptr(), libc::MNT_DETACH)
    });
    call("fsopen", || unsafe {
        syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0)
    });
    call("open_tree clone", || unsafe {
        syscall(libc::SYS_open_tree, libc::AT_FDCWD, c"/".as_ptr(), 1)
    });
    call("move_mount", || unsafe {
        syscall(libc::SYS_move_mount, 0, c"".as_ptr(), 0, c"/".as_ptr(), 0)
    });
    call("mount_setattr", || unsafe {
        syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/usr".as_ptr(),
            0,
            0,
            0,
        )
    });
    call("pivot_root", || unsafe {
        syscall(libc::SYS_pivot_root, c"/tmp".as_ptr(), c"/tmp".as_ptr())
    });
    call("chroot", || unsafe {
        syscall(libc::SYS_chroot, c"/tmp".as_ptr())
    });
    call("open_by_handle_at", || unsafe {
        syscall(libc::SYS_open_by_handle_at, libc::AT_FDCWD, 0, 0)
    });
    call("mknod block", || unsafe { device(libc::S_IFBLK, 254, 0) });
    call("mknod memory", || unsafe { device(libc::S_IFCHR, 1, 1) });
}

unsafe fn device(kind: libc::mode_t, major: u32, minor: u32) -> c_long {
    let number = libc::makedev(major, minor);
    unsafe {
        syscall(
            libc::SYS_mknodat,
            libc::AT_FDCWD,
            c"/tmp/device".as_ptr(),
            kind | 0o666,
            number,
        )
    }
}

fn kernel() {
    let bytes = [0_u8; 256];
    let nothing = bytes.as_ptr();
    call("bpf", || unsafe { syscall(libc::SYS_bpf, 0, nothing, 128) });
    call("perf_event_open", || unsafe {
        syscall(libc::SYS_perf_event_open, nothing, 0, -1, -1, 0)
    });
    call("keyctl", || unsafe { syscall(libc::SYS_keyctl, 0, -3, 0) });
    call("add_key", || unsafe {
        syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            c"a".as_ptr(),
            nothing,
            1,
            -3,
        )
    });
    call("request_key", || unsafe {
        syscall(
            libc::SYS_request_key,
            c"user".as_ptr(),
            c"a".as_ptr(),
            0,
            -3,
        )
    });
    call("userfaultfd", || unsafe {
        syscall(libc::SYS_userfaultfd, 0)
    });
    call("io_uring_setup", || unsafe {
        syscall(libc::SYS_io_uring_setup, 8, nothing)
    });
    call("init_module", || unsafe {
        syscall(libc::SYS_init_module, nothing, 1, c"".as_ptr())
    });
    call("finit_module", || unsafe {
        syscall(libc::SYS_finit_module, 0, c"".as_ptr(), 0)
    });
    call("kexec_load", || unsafe {
        syscall(libc::SYS_kexec_load, 0, 0, 0, 0)
    });
    call("reboot", || unsafe {
        syscall(libc::SYS_reboot, 0, 0, 0, 0)
    });
    call("syslog", || unsafe { syscall(libc::SYS_syslog, 10, 0, 0) });
    call("swapon", || unsafe {
        syscall(libc::SYS_swapon, c"/tmp/x".as_ptr(), 0)
    });
    call("acct", || unsafe {
        syscall(libc::SYS_acct, c"/tmp/x".as_ptr())
    });
    call("clock_settime", || unsafe {
        syscall(libc::SYS_clock_settime, 0, nothing)
    });
    call("sethostname", || unsafe {
        syscall(libc::SYS_sethostname, c"x".as_ptr(), 1)
    });
    call("fanotify_init", || unsafe {
        syscall(libc::SYS_fanotify_init, 0, 0)
    });
    call("quotactl", || unsafe {
        syscall(libc::SYS_quotactl, 0, 0, 0, 0)
    });
    call("personality read-implies-exec of old", || unsafe {
        syscall(libc::SYS_personality, 0x0040_0000)
    });
    call("a call of the future", || unsafe { syscall(1000) });
    #[cfg(target_arch = "x86_64")]
    {
        call("iopl", || unsafe { syscall(libc::SYS_iopl, 3) });
        call("ioperm", || unsafe { syscall(libc::SYS_ioperm, 0, 1, 1) });
        call("modify_ldt", || unsafe {
            syscall(libc::SYS_modify_ldt, 0, nothing, 1)
        });
        call("unshare of x32", || unsafe {
            syscall(0x4000_0000 + libc::SYS_unshare, libc::CLONE_NEWUSER)
        });
        call("getpid of x32", || unsafe {
            syscall(0x4000_0000 + libc::SYS_getpid)
        });
    }
    call("push words into a terminal", || unsafe {
        syscall(libc::SYS_ioctl, 0, libc::TIOCSTI, nothing)
    });
    // The kernel reads the lower half of a request only, so the upper must not hide it.
    call("push words into a terminal, disguised", || unsafe {
        syscall(libc::SYS_ioctl, 0, libc::TIOCSTI | 1 << 40, nothing)
    });
}

fn sockets() {
    let kinds = [
        ("packet", libc::AF_PACKET, libc::SOCK_RAW),
        ("raw", libc::AF_INET, libc::SOCK_RAW),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
        ("crypto", libc::AF_ALG, libc::SOCK_SEQPACKET),
        ("bluetooth", libc::AF_BLUETOOTH, libc::SOCK_RAW),
        ("express data path", libc::AF_XDP, libc::SOCK_RAW),
    ];
    for (name, family, kind) in kinds {
        call(&format!("socket {name}"), || unsafe {
            syscall(libc::SYS_socket, family, kind, libc::IPPROTO_ICMP)
        });
    }
}

fn privileges() {
    call("setuid root", || unsafe { syscall(libc::SYS_setuid, 0) });
    call("setresuid root", || unsafe {
        syscall(libc::SYS_setresuid, 0, 0, 0)
    });
    call("setgroups", || unsafe {
        syscall(libc::SYS_setgroups, 1, [0_u32].as_ptr())
    });
    call("bind a low port", || {
        match std::net::TcpListener::bind(("127.0.0.1", 81)) {
            Ok(_) => 0,
            Err(_) => -1,
        }
    });
    call("raise the limit of files", || unsafe {
        let limit = libc::rlimit {
            rlim_cur: 1 << 20,
            rlim_max: 1 << 20,
        };
        syscall(
            libc::SYS_prlimit64,
            0,
            libc::RLIMIT_NOFILE,
            &raw const limit,
            0,
        )
    });
    call("a real-time priority", || unsafe {
        let parameter = libc::sched_param { sched_priority: 1 };
        c_long::from(libc::sched_setscheduler(
            0,
            libc::SCHED_FIFO,
            &raw const parameter,
        ))
    });
    call("a better rank for the end of memory", || {
        outcome(std::fs::write("/proc/self/oom_score_adj", "-1000"))
    });
    call("the rank of a program of the host", || {
        outcome(std::fs::write("/proc/self/oom_score_adj", "0"))
    });
}

fn files() {
    let write = |path: &str| outcome(OpenOptions::new().append(true).open(path));
    let read = |path: &str| outcome(File::open(path));
    for path in [
        "/usr/bin/env",
        "/etc/passwd",
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/proc/1/mem",
    ] {
        call(&format!("write {path}"), || write(path));
    }
    for folder in [
        "/",
        "/usr",
        "/usr/local",
        "/usr/bin",
        "/etc",
        "/dev",
        "/proc",
    ] {
        call(&format!("create in {folder}"), || {
            outcome(File::create(format!("{folder}/x")))
        });
    }
    for name in [
        "exe",
        "environ",
        "mem",
        "maps",
        "fd/3",
        "root/etc/shadow",
        "cwd/etc/shadow",
        "stack",
        "syscall",
    ] {
        call(&format!("read /proc/1/{name}"), || {
            read(&format!("/proc/1/{name}"))
        });
    }
    call("run the init's executable", || {
        outcome(std::process::Command::new("/proc/1/exe").arg("x").status())
    });
    call("follow the init's executable", || {
        outcome(std::fs::read_link("/proc/1/exe"))
    });
    for path in [
        "/etc/shadow",
        "/root",
        "/home",
        "/var",
        "/sys/kernel",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/vda",
        "/dev/fuse",
    ] {
        call(&format!("see {path}"), || {
            outcome(std::fs::symlink_metadata(path))
        });
    }
    call("remove a program", || {
        outcome(std::fs::remove_file("/usr/bin/env"))
    });
    call("link a program", || {
        outcome(std::fs::hard_link("/usr/bin/env", "/tmp/env"))
    });
}

/// Answers every connection at an address with a word.
pub(crate) fn greet(address: &str) {
    let listener = TcpListener::bind(address).expect("the test gives a free address");
    for stream in listener.incoming().flatten() {
        // Whoever hangs up early wants no greeting.
        let _ = { stream }.write_all(b"hello");
    }
}

/// Connects to a port of 127.0.0.1 and to the abstract socket that is named after it.
pub(crate) fn connect(port: &str) {
    let number: u16 = port.parse().expect("the test gives a port");
    call("connect to the host's loopback", || {
        outcome(TcpStream::connect(("127.0.0.1", number)))
    });
    let address = SocketAddr::from_abstract_name(port).expect("the name is short");
    call("connect to the host's abstract socket", || {
        outcome(UnixStream::connect_addr(&address))
    });
}

/// Forks until the kernel refuses, and tells how far it came.
pub(crate) fn fork_without_end() {
    let mut children = 0;
    loop {
        match unsafe { libc::fork() } {
            0 => loop {
                unsafe { libc::pause() };
            },
            -1 => break,
            _ => children += 1,
        }
    }
    println!("{children} children, then {}", io::Error::last_os_error());
}

/// Takes memory and writes to it until it is stopped.
pub(crate) fn allocate_without_end() {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(vec![1; 1 << 20]);
        if taken.len() > 4096 {
            println!("4 GiB taken");
            return;
        }
    }
}

/// Writes into a folder until that fails, with one large file and then with many empty ones.
pub(crate) fn fill(folder: &str) {
    let mut written = 0;
    let mut file = File::create(format!("{folder}/large")).expect("the folder can be written to");
    let error = loop {
        match file.write(&[1; 1 << 16]) {
            Ok(count) => written += count,
            Err(error) => break error,
        }
        if written > 1 << 30 {
            break io::Error::other("no end after 1 GiB");
        }
    };
    println!("{written} bytes, then {}", error.kind());
    std::fs::remove_file(format!("{folder}/large")).expect("an own file can be removed");
    let create = |number: &u32| File::create(format!("{folder}/{number}")).is_ok();
    let files = (0..2_000_000).take_while(create).count();
    println!("{files} files");
}

/// A call by the door of 32-bit programs, where numbers mean other things.
pub(crate) fn make_foreign_call() {
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let result: i32;
        // getpid
        std::arch::asm!("int 0x80", inlateout("eax") 20 => result);
        println!("allowed: {result}");
    }
}

fn child_ends(pid: c_long) -> c_long {
    if pid == 0 {
        unsafe { libc::_exit(0) };
    }
    pid
}

fn outcome<T>(result: io::Result<T>) -> c_long {
    let Err(error) = result else { return 0 };
    // The standard library may have called the kernel again since.
    unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(0) };
    -1
}

fn call(name: &str, attempt: impl FnOnce() -> c_long) {
    let result = attempt();
    let error = io::Error::last_os_error();
    match result {
        -1 => println!("{name}: {}", error.raw_os_error().unwrap_or(0)),
        _ => println!("{name}: allowed"),
    }
}
