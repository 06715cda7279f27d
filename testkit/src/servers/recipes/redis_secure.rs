//! Redis with TLS on both sides and access control.
//!
//! One server with two doors: one that speaks TLS with a certificate of a private authority and wants one of the client, and one
//! without, which a client that asked for TLS must not be content with. Without a name nobody may do anything; the user `root` may do
//! everything, the user `infra` what concerns keys that begin with `infra:`.

use std::path::Path;

use super::redis::{self, Redis};
use crate::servers::catalog::detail;
use crate::servers::certificates::Certificates;
use crate::servers::probe;
use crate::servers::problem::{Problem, Result};
use crate::servers::recipe::{Place, Recipe};
use crate::servers::source::{Source, find};
use crate::servers::state::Launch;
use crate::servers::variable;

const NAME: &str = "redis-secure";

/// The door that speaks TLS and the one that does not.
const SECURE: usize = 0;
const PLAIN: usize = 1;

/// With letters that a URL must write in another way, and like nothing else that a log might show.
const PASSWORD: &str = "staple@battery/7";
const PASSWORD_IN_URL: &str = "staple%40battery%2F7";

pub(in crate::servers) struct RedisSecure;

impl Recipe for RedisSecure {
    fn name(&self) -> &'static str {
        NAME
    }

    fn source(&self) -> Source {
        redis::packages()
    }

    fn ports(&self) -> usize {
        2
    }

    fn version(&self, supply: &Path) -> Result<String> {
        Redis::version(&redis::SINGLE, supply)
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let certificates = Certificates::below(&place.folder);
        certificates.generate()?;
        let users = format!(
            "user default off\nuser root on >{PASSWORD} ~* &* +@all\nuser infra on >{PASSWORD} ~infra:* &* +@all -@admin\n"
        );
        let users = place.write("users.acl", &users)?;
        let (certificate, key) = certificates.server();
        let authority = certificates.authority();
        let (secure, plain) = (place.ports[SECURE].to_string(), place.ports[PLAIN].to_string());
        let folder = place.folder.display().to_string();
        let arguments = [
            ["--tls-port", &secure],
            ["--port", &plain],
            ["--bind", "127.0.0.1"],
            ["--dir", &folder],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-ca-cert-file", &authority],
            ["--tls-auth-clients", "yes"],
            ["--aclfile", &users],
            ["--save", ""],
        ];
        Ok(vec![Launch::new(find("redis-server")?, arguments.concat())])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        let answer = probe::redis(place.ports[PLAIN], &format!("AUTH root {PASSWORD}"))?;
        if answer.starts_with("+OK") {
            return Ok(());
        }
        Err(Problem::new(format!("Redis does not let its user in: {answer}")))
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        let certificates = Certificates::below(&places[0].folder);
        let (certificate, key) = certificates.client();
        let url = |user: &str, door: usize| {
            let address = places[0].address(door);
            format!("redis://{user}:{PASSWORD_IN_URL}@{address}")
        };
        vec![
            (variable(NAME), url("infra", SECURE)),
            (detail(NAME, "ROOT_URL"), url("root", SECURE)),
            (detail(NAME, "PLAIN_URL"), url("infra", PLAIN)),
            (detail(NAME, "CA"), certificates.authority()),
            (detail(NAME, "OTHER_CA"), certificates.other_authority()),
            (detail(NAME, "CERTIFICATE"), certificate),
            (detail(NAME, "KEY"), key),
        ]
    }
}
