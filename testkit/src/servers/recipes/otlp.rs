//! A receiver of OpenTelemetry: traces, metrics and logs by OTLP, over gRPC and HTTP.
//!
//! `rotel` is a collector whose Python package holds the program itself; pip fetches the package and nothing of Python runs.
//! Answering in 0.1 s, 24 MB. It prints what it received into its log and passes nothing on.

use std::path::Path;

use crate::servers::probe;
use crate::servers::problem::Result;
use crate::servers::recipe::{Place, Recipe, url};
use crate::servers::source::Source;
use crate::servers::state::Launch;
use crate::servers::variable;

const VERSION: &str = "0.0.1a15";

const GRPC: usize = 0;
const HTTP: usize = 1;

pub(in crate::servers) struct Otlp;

impl Recipe for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn source(&self) -> Source {
        Source::Wheel {
            package: "rotel",
            version: VERSION,
            program: "rotel/rotel-agent",
        }
    }

    fn ports(&self) -> usize {
        2
    }

    fn version(&self, _supply: &Path) -> Result<String> {
        Ok(format!("rotel {VERSION}"))
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let (grpc, http, pid) = (place.address(GRPC), place.address(HTTP), place.path("pid"));
        let mut arguments = vec![
            "start",
            "--otlp-grpc-endpoint",
            &grpc,
            "--otlp-http-endpoint",
            &http,
        ];
        arguments.extend(["--pid-file", &pid, "--exporter", "blackhole"]);
        arguments.extend([
            "--debug-log",
            "traces",
            "--debug-log",
            "metrics",
            "--debug-log-verbosity",
            "detailed",
        ]);
        Ok(vec![Launch::new(place.supply.clone(), arguments)])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::http_post_empty(place.ports[HTTP], "/v1/traces", "application/x-protobuf")
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        vec![
            (variable(self.name()), url("http", places, GRPC)),
            (variable("otlp-http"), url("http", places, HTTP)),
        ]
    }
}
