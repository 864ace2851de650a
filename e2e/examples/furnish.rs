//! Makes a furnished data folder out of a version of the server, for the tests of upgrades:
//!
//! ```text
//! cargo run -p pilvi-e2e --example furnish -- NAME
//! ```
//!
//! It takes the `pilvi` beside it, in `target/debug`; to make one of an earlier commit, check that commit out and run
//! it there. It writes `e2e/fixtures/NAME.tar.gz` and `NAME.json`; see `e2e/fixtures/README.md`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pilvi_e2e::house;
use pilvi_e2e::server::{Options, Server};

/// Where the webhook in it delivers to. It is written in the folder, so it cannot be any free port: this is an address
/// of the loopback network that nobody uses.
const TARGET: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 83, 21, 7)), 47_113);

fn main() {
    let name = std::env::args().nth(1);
    let name = name.expect("say the name of the new fixture, such as 2026-11-23");
    let data = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(&Options {
        data: Some(data.path().to_owned()),
        ..Options::serve()
    });
    let house = house::furnish(&server, TARGET).expect("git is installed");
    server.stop();
    house::pack(&name, data.path(), &house);
}
