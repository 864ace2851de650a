//! PostgreSQL in a folder of ours, as the distribution configures it.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::install;
use crate::server::{Ready, Server};
use crate::world::World;

/// A running PostgreSQL.
pub(crate) struct PostgreSql {
    pub(crate) server: Server,
    programs: PathBuf,
}

/// The system user that PostgreSQL runs as: it refuses to run as root.
struct User {
    id: u32,
    group: u32,
}

impl PostgreSql {
    pub(crate) fn start(world: &World) -> Result<Self> {
        let programs = install::postgresql()?;
        let folder = world.empty_folder("postgresql")?;
        let user = User::find()?;
        if let Some(user) = &user {
            chown(&folder, Some(user.id), Some(user.group))?;
        }
        let data = folder.join("data");
        let as_user = |program: &Path| {
            let mut command = Command::new(program);
            if let Some(user) = &user {
                command.uid(user.id).gid(user.group);
            }
            command.current_dir(&folder);
            command
        };
        let mut initdb = as_user(&programs.join("initdb"));
        initdb
            .args([
                "--username",
                "postgres",
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
            ])
            .args(["--locale", "C.UTF-8", "--pgdata"])
            .arg(&data);
        install::run(&mut initdb)?;
        let server = world.start("postgresql", &Ready::Accepts, |address| {
            let mut command = as_user(&programs.join("postgres"));
            command
                .arg("-D")
                .arg(&data)
                .args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-k"])
                .arg(&folder);
            command
        })?;
        let postgresql = Self { server, programs };
        postgresql.wait_until_it_answers()?;
        Ok(postgresql)
    }

    /// The address of its database, for a client.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.server.address)
    }

    pub(crate) fn execute(&self, sql: &str) -> Result<()> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "--quiet",
            "--no-psqlrc",
            "--set",
            "ON_ERROR_STOP=1",
            "--dbname",
        ])
        .arg(self.url())
        .args(["--command", sql]);
        install::run(&mut psql)
    }

    /// It accepts connections before it takes statements.
    fn wait_until_it_answers(&self) -> Result<()> {
        let mut last = Ok(());
        for _ in 0..100 {
            last = self.execute("select 1");
            if last.is_ok() {
                return last;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        last
    }
}

impl User {
    /// The user `postgres` if we are root; otherwise PostgreSQL runs as we do.
    fn find() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").context("could not read the users")?;
        let user = users.lines().find_map(Self::parse);
        user.map(Some).context("there is no user `postgres`")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some(Self {
            id: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_its_name_alone() {
        let user =
            User::parse("postgres:x:105:113:PostgreSQL,,,:/var/lib/postgresql:/bin/bash").unwrap();
        assert_eq!((user.id, user.group), (105, 113));
        assert!(User::parse("postgresx:x:1:2:").is_none());
        assert!(User::parse("root:x:0:0:").is_none());
    }
}
