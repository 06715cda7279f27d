//! Consul with TLS and access control.
//!
//! The same program as `consul`. Its HTTPS wants a certificate of the client, too; its HTTP, through which it is set up, does not.
//! Nothing is allowed without a token: one may do everything, the other may have sessions, and write keys and services that begin
//! with `infra`.

use std::path::Path;
use std::time::Duration;

use super::consul::{self, Consul};
use crate::servers::catalog::detail;
use crate::servers::certificates::Certificates;
use crate::servers::probe;
use crate::servers::problem::{Problem, Result};
use crate::servers::process::wait_until;
use crate::servers::recipe::{Place, Recipe};
use crate::servers::source::Source;
use crate::servers::state::Launch;
use crate::servers::variable;

const NAME: &str = "consul-secure";

/// The door that speaks TLS and the one that does not.
const SECURE: usize = 0;
const PLAIN: usize = 1;

/// The token that may do everything.
const MANAGEMENT: &str = "7d0c1d9e-2b51-4b0e-8f0f-5a1e6f5c0001";

/// The token for ordinary use.
const ORDINARY: &str = "7d0c1d9e-2b51-4b0e-8f0f-5a1e6f5c0002";

const RULES: &str = r#"key_prefix \"infra/\" { policy = \"write\" } service_prefix \"infra\" { policy = \"write\" } session_prefix \"\" { policy = \"write\" } node_prefix \"\" { policy = \"read\" } agent_prefix \"\" { policy = \"read\" }"#;

/// How long a new server may take until it has taken in its access control.
const PATIENCE: Duration = Duration::from_secs(20);

pub(in crate::servers) struct ConsulSecure;

impl ConsulSecure {
    fn put(place: &Place, path: &str, body: &str) -> Result<String> {
        let token = format!("X-Consul-Token: {MANAGEMENT}\r\n");
        probe::http_send(place.ports[PLAIN], "PUT", path, &token, body)
    }

    /// Whether the ordinary token is known.
    fn is_set_up(place: &Place) -> bool {
        let token = format!("X-Consul-Token: {ORDINARY}\r\n");
        probe::http_get(place.ports[PLAIN], "/v1/acl/token/self", &token).is_ok()
    }

    fn set_up(place: &Place) -> Result<()> {
        let policy = format!(r#"{{"Name":"infra","Rules":"{RULES}"}}"#);
        match Self::put(place, "/v1/acl/policy", &policy) {
            // An assembly that was cut short had come as far.
            Err(problem) if !problem.to_string().contains("already exists") => return Err(problem),
            _ => {}
        }
        let token = format!(r#"{{"SecretID":"{ORDINARY}","Policies":[{{"Name":"infra"}}]}}"#);
        Self::put(place, "/v1/acl/token", &token).map(drop)
    }

    fn configuration(place: &Place) -> String {
        let certificates = Certificates::below(&place.folder);
        let (certificate, key) = certificates.server();
        let values = serde_json::json!({
            "performance": { "raft_multiplier": 1 },
            "leave_on_terminate": false,
            "disable_update_check": true,
            "acl": {
                "enabled": true,
                "default_policy": "deny",
                // The agent's own token lets it list itself among the nodes, or there could be no sessions.
                "tokens": { "master": MANAGEMENT, "agent": MANAGEMENT },
            },
            "ports": { "https": place.ports[SECURE] },
            "verify_incoming_https": true,
            "ca_file": certificates.authority(),
            "cert_file": certificate,
            "key_file": key,
        });
        values.to_string()
    }
}

impl Recipe for ConsulSecure {
    fn name(&self) -> &'static str {
        NAME
    }

    fn source(&self) -> Source {
        Consul.source()
    }

    fn ports(&self) -> usize {
        4
    }

    fn version(&self, supply: &Path) -> Result<String> {
        Consul.version(supply)
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        Certificates::below(&place.folder).generate()?;
        let ports = [PLAIN, 2, 3].map(|index| place.ports[index]);
        consul::launch(place, &Self::configuration(place), ports).map(|launch| vec![launch])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        consul::has_leader(place.ports[PLAIN])
    }

    fn assemble(&self, places: &[Place]) -> Result<()> {
        for place in places {
            let mut outcome = Ok(());
            let done = wait_until(PATIENCE, || {
                if Self::is_set_up(place) {
                    return true;
                }
                outcome = Self::set_up(place);
                false
            });
            if !done {
                let problem = outcome
                    .err()
                    .map(|problem| problem.to_string())
                    .unwrap_or_default();
                return Err(Problem::new(format!(
                    "Consul's access control cannot be set up: {problem}"
                )));
            }
        }
        Ok(())
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        let certificates = Certificates::below(&places[0].folder);
        let (certificate, key) = certificates.client();
        let url = |door: usize| format!("consul://{}", places[0].address(door));
        vec![
            (variable(NAME), url(SECURE)),
            (detail(NAME, "PLAIN_URL"), url(PLAIN)),
            (detail(NAME, "TOKEN"), ORDINARY.to_owned()),
            (detail(NAME, "MANAGEMENT_TOKEN"), MANAGEMENT.to_owned()),
            (detail(NAME, "CA"), certificates.authority()),
            (detail(NAME, "OTHER_CA"), certificates.other_authority()),
            (detail(NAME, "CERTIFICATE"), certificate),
            (detail(NAME, "KEY"), key),
        ]
    }
}
