//! The same without root: this executable starts itself again as an ordinary user on the host of the test's land, and
//! once more as a sandbox in a user namespace of that one.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::ChildStdin;

use super::*;
use crate::testing::skip;

/// The user that every Linux has and that may do nothing.
const NOBODY: &str = "65534";

const THIS_TEST: &str = "network::tests::relayed::without_root_pasta_carries_the_same_and_no_more";

/// What this process is in the test.
const ROLE: &str = "PILVI_TEST_ROLE";

/// Each address, and whether a sandbox reaches it.
const EXPECTED: [(&str, bool); 9] = [
    (INTERNET, true),
    (NEIGHBOUR, false),
    ("192.168.7.53:53", true),
    ("192.168.8.2:80", true),
    ("192.168.7.53:80", false),
    ("192.168.7.2:80", false),
    ("192.168.7.1:8080", false),
    ("45.0.0.1:8080", false),
    ("10.0.2.2:8080", false),
];

#[test]
fn without_root_pasta_carries_the_same_and_no_more() {
    match role().as_deref() {
        Some("user") => be_user(),
        Some("sandbox") => be_sandbox(),
        _ => be_administrator(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test tells its own processes apart by this variable"
)]
fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Makes the land, and a device for tunnels that every user may open, as Debian has it and some machines have not.
fn be_administrator() {
    if !is_root_or_skip("egress without root") {
        return;
    }
    if Command::new("pasta").arg("--version").output().is_err() {
        skip("pasta is missing: install the package passt");
        return;
    }
    let land = Land::new();
    land.serve();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!(
        "set -e; cd {}; touch test; mknod tun c 10 200; chmod 666 tun\n\
         mount --bind \"$0\" test; mount --bind tun /dev/net/tun\n\
         exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups ./test --exact {THIS_TEST} --nocapture",
        folder.path().display()
    );
    let output = Command::new("nsenter")
        .arg(format!("--net={}", land.host.path()))
        .args(["unshare", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(ROLE, "user")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    println!("{said}");
}

/// What the server does.
fn be_user() {
    let prefix = own_prefix();
    let relayed = Relayed::open(&settings(), &prefix, &resolvers()).unwrap();
    let mut sandbox = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", THIS_TEST, "--nocapture"])
        .env(ROLE, "sandbox")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Place)
        .unwrap();
    let mut orders = sandbox.0.stdin.take().unwrap();
    let mut said = BufReader::new(sandbox.0.stdout.take().unwrap()).lines();
    let mut next = |what: &str| {
        let mut lines = said.by_ref().map(|line| line.unwrap());
        lines
            .find(|line| line.starts_with(what))
            .unwrap_or_default()
    };
    send(&mut orders, &hex(&relayed.fence()));
    assert_eq!(next("fenced"), "fenced");
    let begun = Instant::now();
    let connection = relayed.connect(sandbox.pid()).unwrap();
    println!("pasta was ready after {:?}", begun.elapsed());
    for (address, expected) in EXPECTED {
        send(&mut orders, address);
        assert_eq!(next("reached"), format!("reached {address}: {expected}"));
    }
    // A server that is killed does not get to drop it; the next one finds it by its name.
    let mut pasta = connection;
    clean_up("pilvi-of-somebody-else").unwrap();
    assert!(pasta.is_there());
    clean_up(&prefix).unwrap();
    until("the pasta has ended", || !pasta.is_there());
}

/// What init does, and then the app.
fn be_sandbox() {
    let mut orders = std::io::stdin().lock().lines().map(|line| line.unwrap());
    let fence = unhex(&orders.next().unwrap());
    raise_fence(&fence).unwrap();
    println!("\nfenced");
    for address in orders {
        let target: SocketAddr = address.parse().unwrap();
        let mut text = String::new();
        let reached = TcpStream::connect_timeout(&target, PATIENCE)
            .and_then(|mut stream| stream.read_to_string(&mut text))
            .is_ok_and(|length| length > 0);
        println!("reached {address}: {reached}");
    }
    // Nobody listens any more to what the test runner has to say.
    std::process::exit(0);
}

fn send(orders: &mut ChildStdin, line: &str) {
    writeln!(orders, "{line}").unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
