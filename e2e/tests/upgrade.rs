//! A data folder is opened by every later version: what earlier ones wrote is there, and everything works with it.

use std::path::Path;

use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{house, receiver};
use tempfile::TempDir;

fn options(data: &Path) -> Options {
    Options {
        data: Some(data.to_owned()),
        ..Options::serve()
    }
}

/// The folders of earlier versions, each as it was when that version had stopped.
#[test]
fn what_earlier_versions_wrote_is_all_there() {
    for name in house::names() {
        let data = TempDir::new().unwrap();
        let known = house::unpack(&name, data.path());
        let target = house::target_of(&known);
        // Soon after it was stopped, so that what it gave out for some hours or days still counts.
        let behind = house::age(&known).as_secs().saturating_sub(600).to_string();
        let mut options = options(data.path());
        options.more.extend(["--clock-behind".to_owned(), behind]);
        let server = Server::start(&options);
        assert_eq!(
            server.ready["accountId"], known["accountId"],
            "{name} is taken for a new folder"
        );
        assert!(server.ready.get("token").is_none(), "no first start");
        house::must_be_as_it_was(&server, &known, &target);
        server.stop();
        // The second start finds it in today's format.
        let server = Server::start(&options);
        house::must_answer_as_before(&server, &known);
        server.stop();
    }
}

/// What the next version will have to read; and the questions do find something on a server that was not upgraded.
#[test]
fn what_this_version_writes_is_all_there() {
    let data = TempDir::new().unwrap();
    let server = Server::start(&options(data.path()));
    let Some(known) = house::furnish(&server, receiver::nobody()) else {
        return;
    };
    server.stop();
    let target = house::target_of(&known);
    let server = Server::start(&options(data.path()));
    house::must_be_as_it_was(&server, &known, &target);
    server.stop();
}
