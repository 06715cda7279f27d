//! The tests that run in every interleaving of their threads: infra-core's unit tests built with `--cfg interleave`.
//!
//! The flag is for that one crate, so that everything below it is built once for these and all other tests.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::steps::{Outcome, cargo_path};

/// In the long form each thread is interrupted so often; in the short form mostly twice, as the tests say themselves.
const LONG_PREEMPTIONS: &str = "3";

/// Builds and runs them; `long` tries more interleavings, which takes minutes.
pub(crate) fn run(long: bool) -> Outcome {
    let tests = build()?;
    let mut command = Command::new(&tests);
    // The same folder that cargo would choose.
    command.arg("interleavings").current_dir("core");
    if long {
        command.env("LOOM_MAX_PREEMPTIONS", LONG_PREEMPTIONS);
    }
    let status = command
        .status()
        .map_err(|error| format!("{} could not be started: {error}", tests.display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("some interleaving fails: {status}"))
    }
}

/// Builds the tests and returns their program.
fn build() -> Result<PathBuf, String> {
    let output = Command::new(cargo_path())
        .args([
            "rustc",
            "--quiet",
            "--package",
            "infra-core",
            "--lib",
            "--profile",
            "test",
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--", "--cfg", "interleave", "-D", "warnings"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("the tests could not be built: {}", output.status));
    }
    program(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| "cargo did not say which program it has built".to_owned())
}

/// The one program among cargo's messages; they are JSON, one on each line.
fn program(messages: &str) -> Option<PathBuf> {
    let (_, found) = messages.split_once("\"executable\":\"")?;
    let (path, _) = found.split_once('"')?;
    Some(path.replace("\\\\", "\\").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_read_from_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/a/deps/infra_core-1\",\"fresh\":true}\n";
        assert_eq!(program(messages), Some(PathBuf::from("/a/deps/infra_core-1")));
        assert_eq!(program("{\"executable\":null}"), None);
    }
}
