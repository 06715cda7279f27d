//! PostgreSQL.
//!
//! From the system's packages (15 in Debian 12); a second or two to lay out the data, then 0.1 s to answer, 26 MB. It refuses to
//! run as root, and then runs as `postgres`. Without fsync: a killed process loses nothing by that. SIGINT ends it at once and in
//! order, where SIGTERM would wait for its clients.

use std::path::Path;

use crate::servers::probe;
use crate::servers::problem::{Problem, Result};
use crate::servers::process::Signal;
use crate::servers::recipe::{Place, Recipe, printed_version};
use crate::servers::source::{Source, find};
use crate::servers::state::Launch;
use crate::servers::variable;

/// The administrator, its password and the database.
const NAME: &str = "infra";

pub(in crate::servers) struct Postgres;

impl Recipe for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn source(&self) -> Source {
        Source::Packages {
            programs: &["postgres", "initdb"],
            packages: &["postgresql"],
        }
    }

    fn user(&self) -> Option<&'static str> {
        Some("postgres")
    }

    fn version(&self, _supply: &Path) -> Result<String> {
        printed_version("postgres", "--version")
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let user = super::user_if_root(self);
        let data = place.path("data");
        let password = place.write("password", NAME)?;
        let password = format!("--pwfile={password}");
        let layout = [
            "-D",
            &data,
            "--username",
            NAME,
            &password,
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ];
        place.run(Launch::new(find("initdb")?, layout).with_user(user), "")?;
        let program = find("postgres")?;
        let single = Launch::new(program.clone(), ["--single", "-D", &data, "postgres"]).with_user(user);
        let answer = place.run(single, &format!("CREATE DATABASE {NAME};\n"))?;
        if answer.contains("ERROR") {
            return Err(Problem::new(format!(
                "cannot create the database {NAME}: {answer}"
            )));
        }
        let port = place.ports[0].to_string();
        let arguments = [
            "-D",
            &data,
            "-p",
            &port,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=300",
            "-c",
            "max_prepared_transactions=20",
        ];
        Ok(vec![Launch::new(program, arguments).with_user(user)])
    }

    /// It looks whether the process that its lock file names exists, and one that was killed does until its parent takes its status,
    /// which in a container without an init process is never.
    fn clear(&self, place: &Place) -> Result<()> {
        match std::fs::remove_file(place.folder.join("data/postmaster.pid")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Problem::new(format!(
                "cannot remove the lock of a killed server: {error}"
            ))),
            _ => Ok(()),
        }
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::postgres(place.ports[0], NAME, NAME)
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        let address = places[0].address(0);
        vec![(
            variable(self.name()),
            format!("postgres://{NAME}:{NAME}@{address}/{NAME}"),
        )]
    }

    fn stop_signal(&self) -> Signal {
        Signal::INT
    }
}
