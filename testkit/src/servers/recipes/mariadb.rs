//! MariaDB, which also stands for MySQL.
//!
//! From the system's packages (10.11 in Debian 12, which has no MySQL of Oracle's); four seconds to lay out the data, then 0.3 s
//! to answer, 100 MB. As root it runs as `mysql`. The configuration of the machine is not read. Its log is flushed once a second,
//! not at each commit: a killed process loses nothing by that.

use std::path::Path;

use crate::servers::probe;
use crate::servers::problem::Result;
use crate::servers::recipe::{Place, Recipe, printed_version};
use crate::servers::source::{Source, find};
use crate::servers::state::Launch;
use crate::servers::variable;

/// The administrator, its password and the database.
const NAME: &str = "infra";

pub(in crate::servers) struct MariaDb;

impl Recipe for MariaDb {
    fn name(&self) -> &'static str {
        "mariadb"
    }

    fn source(&self) -> Source {
        Source::Packages {
            programs: &["mariadbd", "mariadb-install-db"],
            packages: &["mariadb-server"],
        }
    }

    fn user(&self) -> Option<&'static str> {
        Some("mysql")
    }

    fn version(&self, _supply: &Path) -> Result<String> {
        printed_version("mariadbd", "--version")
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let user = super::user_if_root(self);
        let data = format!("--datadir={}", place.path("data"));
        let layout = [
            "--no-defaults",
            &data,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ];
        place.run(
            Launch::new(find("mariadb-install-db")?, layout).with_user(user),
            "",
        )?;
        let statements = format!(
            "CREATE DATABASE IF NOT EXISTS {NAME};\nCREATE USER IF NOT EXISTS '{NAME}'@'%' IDENTIFIED BY '{NAME}';\n\
             GRANT ALL ON *.* TO '{NAME}'@'%' WITH GRANT OPTION;\n"
        );
        let first = format!("--init-file={}", place.write("init.sql", &statements)?);
        let port = format!("--port={}", place.ports[0]);
        let socket = format!("--socket={}", place.path("socket"));
        let pid = format!("--pid-file={}", place.path("pid"));
        let arguments = [
            "--no-defaults",
            &data,
            "--bind-address=127.0.0.1",
            &port,
            &socket,
            &pid,
            &first,
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--max-connections=300",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=64M",
        ];
        Ok(vec![Launch::new(find("mariadbd")?, arguments).with_user(user)])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::mysql(place.ports[0])
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        let address = places[0].address(0);
        vec![(
            variable(self.name()),
            format!("mysql://{NAME}:{NAME}@{address}/{NAME}"),
        )]
    }
}
