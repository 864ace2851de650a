//! Sandboxes, a host, an internet and a private network, each a network namespace of the test's own: no packet of these
//! tests can leave the machine, and nothing of them is left when their processes end.

mod relayed;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::routed::within;
use super::*;
use crate::testing::{is_root_or_skip, own_prefix, until};

/// An answer that is not there by then does not come.
const PATIENCE: Duration = Duration::from_secs(1);
const DATAGRAMS: u32 = 5;

/// A process that does nothing but hold a network namespace.
struct Place(Child);

impl Place {
    fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--net", "sleep", "300"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let place = Self(child);
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        until("the namespace is there", || {
            fs::read_link(place.path()).is_ok_and(|theirs| theirs != ours)
        });
        place.ip("link set lo up");
        place
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }

    fn within<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let namespace = File::open(self.path()).unwrap();
        within(namespace.as_fd(), work)
    }

    fn ip(&self, arguments: &str) -> String {
        let output = Command::new("nsenter")
            .arg(format!("--net={}", self.path()))
            .arg("ip")
            .args(arguments.split(' '))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// A server that tells each caller its address, until the test ends.
    fn serve(&self, address: &str) {
        let listener = self.within(|| TcpListener::bind(address)).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = stream.write_all(peer.ip().to_string().as_bytes());
            }
        });
    }

    fn serve_udp(&self, address: &str) {
        let socket = self.within(|| UdpSocket::bind(address)).unwrap();
        std::thread::spawn(move || {
            let mut text = [0; 64];
            while let Ok((length, peer)) = socket.recv_from(&mut text) {
                let _ = socket.send_to(&text[..length], peer);
            }
        });
    }

    /// What the server at the address says.
    fn call(&self, address: &str) -> io::Result<String> {
        let address: SocketAddr = address.parse().unwrap();
        self.within(|| {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
    }

    /// Datagrams may be lost, so there are several before nobody answers.
    fn call_udp(&self, address: &str) -> io::Result<()> {
        self.within(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(address)?;
            socket.set_read_timeout(Some(PATIENCE / DATAGRAMS))?;
            let mut answer = Ok(());
            for _ in 0..DATAGRAMS {
                socket.send(b"who is it?")?;
                answer = socket.recv(&mut [0; 64]).map(drop);
                if answer.is_ok() {
                    break;
                }
            }
            answer
        })
    }

    fn address(&self) -> Ipv4Addr {
        let text = self.ip("-4 -oneline address show eth0");
        let word = text
            .split_whitespace()
            .skip_while(|word| *word != "inet")
            .nth(1);
        word.unwrap().split('/').next().unwrap().parse().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Beyond the gateway.
const INTERNET: &str = "46.0.0.2:80";
/// The gateway is a neighbour of the host, at public addresses.
const NEIGHBOUR: &str = "45.0.0.2:80";
const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 53);

/// A host between an internet and a private network.
struct Land {
    host: Place,
    internet: Place,
    private: Place,
}

impl Land {
    fn new() -> Self {
        let (host, internet, private) = (Place::new(), Place::new(), Place::new());
        for (place, device, theirs, ours) in [
            (&internet, "up0", "45.0.0.2/24", "45.0.0.1/24"),
            (&private, "lan0", "192.168.7.2/24", "192.168.7.1/24"),
        ] {
            host.ip(&format!(
                "link add {device} type veth peer name eth0 netns {}",
                place.pid()
            ));
            host.ip(&format!("address add {ours} dev {device}"));
            host.ip(&format!("link set {device} up"));
            place.ip(&format!("address add {theirs} dev eth0"));
            place.ip("link set eth0 up");
        }
        host.ip("route add default via 45.0.0.2");
        host.ip("route add 192.168.8.0/24 via 192.168.7.2");
        internet.ip("address add 46.0.0.2/32 dev eth0");
        private.ip("address add 192.168.8.2/24 dev eth0");
        private.ip("address add 192.168.7.53/24 dev eth0");
        private.ip("route add default via 192.168.7.1");
        // The internet would even know the way to a sandbox.
        internet.ip("route add default via 45.0.0.1");
        Self {
            host,
            internet,
            private,
        }
    }

    /// Servers at all the places that a sandbox may or may not reach.
    fn serve(&self) {
        self.internet.serve(INTERNET);
        self.internet.serve(NEIGHBOUR);
        for address in [
            "192.168.7.2:80",
            "192.168.7.53:53",
            "192.168.7.53:80",
            "192.168.8.2:80",
        ] {
            self.private.serve(address);
        }
        self.private.serve_udp("192.168.7.53:53");
        self.host.serve("0.0.0.0:8080");
    }
}

/// The network behind 192.168.8.2 is an exception.
fn settings() -> NetworkSettings {
    NetworkSettings {
        allowed: vec![(IpAddr::V4(Ipv4Addr::new(192, 168, 8, 0)), 24)],
        ..NetworkSettings::default()
    }
}

fn resolvers() -> Resolvers {
    Resolvers {
        servers: vec![RESOLVER],
        ..Resolvers::default()
    }
}

/// The land with our router on its host.
struct World {
    land: Land,
    networks: Networks,
    prefix: String,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let land = Land::new();
        let prefix = own_prefix();
        let networks = land
            .host
            .within(|| Ok(Networks::with_resolvers(&settings(), &prefix, resolvers())))
            .unwrap();
        assert_eq!(networks.state(), Ok(None));
        Self {
            land,
            networks,
            prefix,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    fn sandbox(&self) -> (Place, Network) {
        let place = Place::new();
        let network = self.connect(&place);
        (place, network)
    }

    fn connect(&self, place: &Place) -> Network {
        self.connect_by(&self.networks, place)
    }

    /// The threads that do the work are on the host because who starts them is.
    fn connect_by(&self, networks: &Networks, place: &Place) -> Network {
        let connecting = || {
            let connecting = networks.connect("mar-eu-1-test/web.1", place.pid());
            self.runtime.block_on(connecting)
        };
        self.land.host.within(connecting).unwrap()
    }
}

#[test]
fn a_sandbox_reaches_the_internet_its_resolver_and_exceptions_and_nothing_else() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    let (app, _connection) = world.sandbox();
    let (other, _other_connection) = world.sandbox();
    world.land.serve();
    let other_address = format!("{}:5000", other.address());
    other.serve(&other_address);

    assert_eq!(
        app.call(INTERNET).unwrap(),
        "45.0.0.1",
        "the host's address stands for it"
    );
    assert!(
        app.call("192.168.8.2:80").is_ok(),
        "an exception is reached"
    );
    assert!(
        app.call("192.168.7.53:53").is_ok(),
        "the resolver is reached"
    );
    app.call_udp("192.168.7.53:53").unwrap();

    let gateway = app.ip("route show default");
    let gateway = format!("{}:8080", gateway.split_whitespace().nth(2).unwrap());
    for (from, near) in [
        // The kernel says no to one address six times before it waits.
        (&other, NEIGHBOUR),
        (&app, "192.168.7.2:80"),
        (&app, "192.168.7.53:80"),
        (&app, "45.0.0.1:8080"),
        (&app, "192.168.7.1:8080"),
        (&app, &gateway),
        (&app, &other_address),
    ] {
        let begun = Instant::now();
        assert!(from.call(near).is_err(), "{near} is reached");
        assert!(
            begun.elapsed() < PATIENCE / 2,
            "{near} is not refused at once"
        );
    }
    // Every server above does answer those who may ask.
    for (place, address) in [
        (&world.land.host, "192.168.7.2:80"),
        (&world.land.host, NEIGHBOUR),
        (&world.land.private, "192.168.7.1:8080"),
        (&world.land.internet, "45.0.0.1:8080"),
        (&other, other_address.as_str()),
    ] {
        assert!(place.call(address).is_ok(), "{address}");
    }
}

#[test]
fn nobody_reaches_into_a_sandbox_and_the_host_becomes_no_router() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    let (app, _connection) = world.sandbox();
    world.land.internet.serve(INTERNET);
    let inside = format!("{}:5000", app.address());
    app.serve(&inside);
    assert!(app.call(&inside).is_ok());
    assert!(world.land.internet.call(&inside).is_err());
    assert!(world.land.private.call(&inside).is_err());
    // The private network has its default route through the host, whose device to it forwards because of the resolver.
    assert!(forwards(&world.land.host, "lan0") && forwards(&world.land.host, "up0"));
    assert!(!forwards(&world.land.host, "all"));
    assert!(world.land.private.call(INTERNET).is_err());
    assert!(app.call(INTERNET).is_ok());
}

#[test]
fn a_flood_of_connections_ends_at_the_limit_and_hurts_nobody_else() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    let (app, _connection) = world.sandbox();
    let (other, _other_connection) = world.sandbox();
    world.land.serve();
    assert!(app.call(INTERNET).is_ok());
    app.within(|| {
        for port in 0..5000 {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            // Beyond the limit it is refused.
            let _ = socket.send_to(b"x", ("46.0.0.2", 10_000 + port));
        }
        Ok(())
    })
    .unwrap();
    assert!(app.call(INTERNET).is_err());
    assert!(other.call(INTERNET).is_ok());
}

#[test]
fn two_daemons_on_one_host_do_not_switch_each_other_off() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    let second = world
        .land
        .host
        .within(|| {
            Ok(Networks::with_resolvers(
                &settings(),
                &own_prefix(),
                resolvers(),
            ))
        })
        .unwrap();
    let close = |networks: &Networks| {
        let closing = || {
            networks.close();
            Ok(())
        };
        world.land.host.within(closing).unwrap();
    };
    let (app, _connection) = world.sandbox();
    let other = Place::new();
    let _other_connection = world.connect_by(&second, &other);
    assert_ne!(app.address(), other.address());
    close(&second);
    assert!(forwards(&world.land.host, "up0"));
    world.land.serve();
    assert!(app.call(INTERNET).is_ok());
    close(&world.networks);
    assert!(!forwards(&world.land.host, "up0"));
}

#[test]
fn an_address_that_is_not_its_own_brings_a_sandbox_nothing() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    let (app, _connection) = world.sandbox();
    world.land.internet.serve_udp("46.0.0.2:7");
    app.call_udp("46.0.0.2:7").unwrap();
    let own = app.address();
    app.ip("address add 45.0.0.9/32 dev lo");
    app.ip(&format!(
        "address add {}/32 dev lo",
        Ipv4Addr::from(u32::from(own) + 2)
    ));
    for source in [
        Ipv4Addr::new(45, 0, 0, 9),
        Ipv4Addr::from(u32::from(own) + 2),
    ] {
        let answered = app.within(|| {
            let socket = UdpSocket::bind((source, 0))?;
            socket.connect("46.0.0.2:7")?;
            socket.set_read_timeout(Some(PATIENCE / 4))?;
            socket.send(b"it is not me")?;
            socket.recv(&mut [0; 64])
        });
        assert!(answered.is_err(), "{source}");
    }
}

#[test]
fn a_sandbox_has_no_ipv6_but_its_loopback() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    let (app, _connection) = world.sandbox();
    assert_eq!(app.ip("-6 address show dev eth0"), "");
    assert!(app.ip("-6 address show dev lo").contains("::1/128"));
}

#[test]
fn a_host_without_sandboxes_is_left_as_it_is() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    assert!(!forwards(&world.land.host, "up0"));
    assert_eq!(tables(&world.land.host), "");
    let (_app, _connection) = world.sandbox();
    assert!(forwards(&world.land.host, "up0"));
    assert!(tables(&world.land.host).contains(&routed::table_name(&world.prefix)));
}

#[test]
fn what_a_killed_server_left_open_is_guarded_at_once_and_closed_in_the_end() {
    if !is_root_or_skip("egress") {
        return;
    }
    let land = Land::new();
    let prefix = own_prefix();
    let table = routed::table_name(&prefix);
    let networks = land.host.within(|| {
        forwarding::switch("up0", true)?;
        Ok(Networks::with_resolvers(&settings(), &prefix, resolvers()))
    });
    assert!(tables(&land.host).contains(&table));
    land.host
        .within(|| {
            networks.unwrap().close();
            Ok(())
        })
        .unwrap();
    assert!(!forwards(&land.host, "up0"));
    assert_eq!(tables(&land.host), "");
}

#[test]
fn what_was_made_is_gone_afterwards() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    let (app, connection) = world.sandbox();
    let device = routed::device_prefix(&world.prefix);
    assert!(world.land.host.ip("link show").contains(&device));
    assert!(app.ip("link show").contains("eth0"));
    world.runtime.block_on(connection.disconnect());
    assert!(!world.land.host.ip("link show").contains(&device));
    world
        .land
        .host
        .within(|| {
            world.networks.close();
            Ok(())
        })
        .unwrap();
    assert!(!forwards(&world.land.host, "up0"));
    assert_eq!(tables(&world.land.host), "");
}

#[test]
fn a_server_that_is_killed_takes_its_firewall_with_it() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    let (_app, _connection) = world.sandbox();
    let table = routed::table_name(&world.prefix);
    let is_there = || {
        world
            .land
            .host
            .within(|| Ok(filter::is_there(&table)))
            .unwrap()
    };
    assert!(is_there());
    let flushed = world.land.host.within(|| filter::apply("flush ruleset\n"));
    assert!(is_there(), "{flushed:?}");
    let World { networks, land, .. } = world;
    // The end of a process closes what it holds, and this is all that is done here.
    drop(networks);
    let is_there = || land.host.within(|| Ok(filter::is_there(&table))).unwrap();
    until("the firewall is gone", || !is_there());
}

#[test]
fn the_next_run_removes_what_a_killed_one_left() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    let (_app, connection) = world.sandbox();
    std::mem::forget(connection);
    let World {
        networks,
        land,
        prefix,
        ..
    } = world;
    drop(networks);
    let device = routed::device_prefix(&prefix);
    let table = routed::table_name(&prefix);
    // As it is left where tables have no owner.
    land.host
        .within(|| filter::apply(&format!("table inet {table} {{\n}}\n")))
        .unwrap();
    land.host
        .within(|| clean_up("pilvi-of-somebody-else"))
        .unwrap();
    assert!(land.host.ip("link show").contains(&device));
    assert!(tables(&land.host).contains(&table));
    for _ in 0..2 {
        land.host.within(|| clean_up(&prefix)).unwrap();
        assert!(!land.host.ip("link show").contains(&device));
        assert_eq!(tables(&land.host), "");
    }
}

#[test]
fn another_firewall_that_drops_is_told() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    world
        .land
        .host
        .within(|| {
            filter::apply(
                "table ip strict {\nchain passing {\ntype filter hook forward priority 0; policy drop;\n}\n}\n",
            )?;
            let networks = Networks::with_resolvers(
                &NetworkSettings::default(),
                &world.prefix,
                Resolvers::default(),
            );
            let problem = networks.state().unwrap().unwrap();
            assert!(problem.contains("chain passing") && problem.contains("table ip strict"), "{problem}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn connecting_is_quick() {
    if !is_root_or_skip("egress") {
        return;
    }
    let world = World::new();
    let begun = Instant::now();
    let another = world
        .land
        .host
        .within(|| {
            Ok(Networks::with_resolvers(
                &settings(),
                &own_prefix(),
                resolvers(),
            ))
        })
        .unwrap();
    println!("opening took {:?}", begun.elapsed());
    world
        .land
        .host
        .within(|| {
            another.close();
            Ok(())
        })
        .unwrap();
    let mut took = Vec::new();
    for _ in 0..10 {
        let place = Place::new();
        let begun = Instant::now();
        let network = world.connect(&place);
        let connected = begun.elapsed();
        let begun = Instant::now();
        world.runtime.block_on(network.disconnect());
        took.push((connected, begun.elapsed()));
    }
    took.sort();
    println!("connecting and disconnecting took {took:?}");
    // The median; a loaded machine may delay some.
    assert!(took[5].0 < Duration::from_millis(50), "{took:?}");
}

fn forwards(place: &Place, device: &str) -> bool {
    place.within(|| Ok(forwarding::is_on(device))).unwrap()
}

fn tables(place: &Place) -> String {
    place.within(|| filter::ask(&["list", "tables"])).unwrap()
}
