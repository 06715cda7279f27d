//! etcd with TLS and authentication.
//!
//! One server with two doors: one that speaks TLS with a certificate of a private authority, and one without, through which it is
//! set up, and which a client that asked for TLS must not be content with. The user `root` may do everything, the user `infra` only
//! what concerns keys that begin with `infra/`. A token that is not used lives for three seconds instead of five minutes, so that
//! every longer test sees some expire.

use std::path::Path;

use super::etcd::{self, Etcd};
use crate::servers::catalog::detail;
use crate::servers::certificates::Certificates;
use crate::servers::probe;
use crate::servers::problem::{Problem, Result};
use crate::servers::recipe::{Place, Recipe};
use crate::servers::source::Source;
use crate::servers::state::Launch;
use crate::servers::variable;

const NAME: &str = "etcd-secure";

/// The door that speaks TLS, the one that does not, and the other members'.
const SECURE: usize = 0;
const PLAIN: usize = 1;
const PEERS: usize = 2;

/// With letters that a URL must write in another way, and like nothing else that a log might show.
const PASSWORD: &str = "staple@battery/7";
const PASSWORD_IN_URL: &str = "staple%40battery%2F7";

/// `infra/` and the first key after all that begin with it, in base 64 as the gateway to HTTP wants them.
const PREFIX: (&str, &str) = ("aW5mcmEv", "aW5mcmEw");

/// Requests of the gateway that make the users, in this order.
fn setup() -> [(&'static str, String); 7] {
    let user = |name: &str| format!(r#"{{"name":"{name}","password":"{PASSWORD}"}}"#);
    let grant = |user: &str| format!(r#"{{"user":"{user}","role":"{user}"}}"#);
    let role = |name: &str| format!(r#"{{"name":"{name}"}}"#);
    let (from, to) = PREFIX;
    let permission =
        format!(r#"{{"name":"infra","perm":{{"permType":"READWRITE","key":"{from}","range_end":"{to}"}}}}"#);
    [
        ("user/add", user("root")),
        ("user/grant", grant("root")),
        ("user/add", user("infra")),
        ("role/add", role("infra")),
        ("role/grant", permission),
        ("user/grant", grant("infra")),
        ("enable", "{}".to_owned()),
    ]
}

pub(in crate::servers) struct EtcdSecure;

impl EtcdSecure {
    fn ask(place: &Place, what: &str, body: &str) -> Result<String> {
        probe::http_send(place.ports[PLAIN], "POST", &format!("/v3/auth/{what}"), "", body)
    }
}

impl Recipe for EtcdSecure {
    fn name(&self) -> &'static str {
        NAME
    }

    fn source(&self) -> Source {
        etcd::SINGLE.source()
    }

    fn ports(&self) -> usize {
        3
    }

    fn version(&self, supply: &Path) -> Result<String> {
        Etcd::version(&etcd::SINGLE, supply)
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let certificates = Certificates::below(&place.folder);
        certificates.generate()?;
        let (certificate, key) = certificates.server();
        let secure = format!("https://{}", place.address(SECURE));
        let both = format!("{secure},http://{}", place.address(PLAIN));
        let more = [
            "--cert-file",
            &certificate,
            "--key-file",
            &key,
            "--auth-token-ttl",
            "3",
            "--bcrypt-cost",
            "4",
        ];
        etcd::node(place, PEERS, &both, &secure, &more).map(|launch| vec![launch])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        etcd::healthy(place.ports[PLAIN])
    }

    fn assemble(&self, places: &[Place]) -> Result<()> {
        for place in places {
            let [(_, root), ..] = setup();
            if Self::ask(place, "authenticate", &root).is_ok() {
                continue;
            }
            for (what, body) in setup() {
                match Self::ask(place, what, &body) {
                    // An assembly that was cut short had come as far.
                    Err(problem) if !problem.to_string().contains("already") => {
                        return Err(Problem::new(format!(
                            "etcd's users cannot be set up ({what}): {problem}"
                        )));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        let certificates = Certificates::below(&places[0].folder);
        let url = |user: &str, door: usize| {
            let address = places[0].address(door);
            format!("etcd://{user}:{PASSWORD_IN_URL}@{address}")
        };
        vec![
            (variable(NAME), url("infra", SECURE)),
            (detail(NAME, "ROOT_URL"), url("root", SECURE)),
            (detail(NAME, "PLAIN_URL"), url("infra", PLAIN)),
            (detail(NAME, "CA"), certificates.authority()),
            (detail(NAME, "OTHER_CA"), certificates.other_authority()),
        ]
    }
}
