//! The system's packages (Debian and its descendants): installing what is missing, and unpacking one from another release.
//!
//! Changes the system only in [`install`], and only as root. No daemon starts by itself meanwhile.

use std::path::{Path, PathBuf};

use super::problem::{Attempt, Problem, Result};
use super::process::run;
use super::recipe::write;
use super::source::find;
use super::state::Launch;

/// Tells the packages' scripts not to start what they install.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs packages, all at once; `say` hears of it when it begins.
///
/// # Errors
/// Says which packages to install by hand where this is not possible: not root, or no `apt-get`.
pub(super) fn install(packages: &[&str], say: &dyn Fn(&str)) -> Result<()> {
    let list = packages.join(" ");
    let Ok(apt) = find("apt-get") else {
        return Err(Problem::new(format!(
            "this system has no apt-get; install what Debian calls {list} with its own package manager"
        )));
    };
    if !rustix::process::geteuid().is_root() {
        return Err(Problem::new(format!(
            "not running as root; install it with: sudo apt-get install --no-install-recommends {list}"
        )));
    }
    say(&format!("installing {list}"));
    let _quiet = Quiet::new()?;
    let apt_get = |arguments: &[&str]| {
        let launch = Launch::new(apt.clone(), arguments.iter().copied())
            .with_environment("DEBIAN_FRONTEND", "noninteractive");
        run(&launch, Path::new("/"), "")
    };
    // Another program may be installing something just now.
    let wait = "-oDPkg::Lock::Timeout=120";
    apt_get(&["update", "-q", wait])?;
    let mut arguments = vec!["install", "-q", wait, "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments).map(drop)
}

/// While this lives, packages do not start what they install.
struct Quiet {
    ours: bool,
}

impl Quiet {
    fn new() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;

        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        write(Path::new(POLICY), "#!/bin/sh\nexit 101\n")?;
        let quiet = Self { ours: true };
        std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))
            .attempt(|| format!("make {POLICY} executable"))?;
        Ok(quiet)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.ours {
            // Where it stays, packages do not start their daemons: unexpected, harmless, and there is nobody to tell.
            std::fs::remove_file(POLICY).unwrap_or_default();
        }
    }
}

/// Downloads a package of another release from the machine's own mirror and unpacks it, without touching the system.
pub(super) fn unpack(suite: &str, package: &str, scratch: &Path, content: &Path) -> Result<()> {
    let mirror = mirror()?;
    for folder in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(scratch.join(folder)).attempt(|| format!("create {folder}"))?;
    }
    write(
        &scratch.join("sources.list"),
        &format!("{}\n", mirror.line(suite)),
    )?;
    write(&scratch.join("status"), "")?;
    let option = |name: &str, file: &str| format!("-o{name}={}", scratch.join(file).display());
    let options = [
        option("Dir::Etc::SourceList", "sources.list"),
        "-oDir::Etc::SourceParts=/dev/null".to_owned(),
        option("Dir::State::Lists", "lists"),
        option("Dir::State::Status", "status"),
        option("Dir::Cache", "cache"),
        "-oAPT::Sandbox::User=root".to_owned(),
        "-q".to_owned(),
    ];
    let apt_get = |arguments: &[&str]| {
        let arguments = options
            .iter()
            .map(String::as_str)
            .chain(arguments.iter().copied());
        run(&Launch::new(find("apt-get")?, arguments), scratch, "")
    };
    apt_get(&["update"])?;
    apt_get(&["download", package])?;
    let files = std::fs::read_dir(scratch).attempt(|| format!("read {}", scratch.display()))?;
    let archive = files
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"));
    let archive =
        archive.ok_or_else(|| Problem::new(format!("apt-get downloaded no package {package} of {suite}")))?;
    let arguments = [
        "-x",
        &archive.display().to_string(),
        &content.display().to_string(),
    ]
    .map(str::to_owned);
    run(&Launch::new(find("dpkg")?, arguments), scratch, "").map(drop)
}

/// A Debian mirror as the machine's own sources name it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    address: String,
    keyring: Option<String>,
}

impl Mirror {
    fn line(&self, suite: &str) -> String {
        let signed = self
            .keyring
            .as_ref()
            .map_or_else(String::new, |keyring| format!("[signed-by={keyring}] "));
        format!("deb {signed}{} {suite} main", self.address)
    }
}

/// The mirror of the release that runs here.
fn mirror() -> Result<Mirror> {
    let release = std::fs::read_to_string("/etc/os-release").attempt(|| "read /etc/os-release".to_owned())?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or_default()
        .trim_matches('"');
    if !release.lines().any(|line| line == "ID=debian") {
        return Err(Problem::new(
            "only Debian's own mirror has it, and this system is not Debian; install it by hand",
        ));
    }
    let parts = std::fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<PathBuf> = std::iter::once(PathBuf::from("/etc/apt/sources.list"))
        .chain(parts)
        .collect();
    files.sort();
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let found = texts.into_iter().find_map(|text| mirror_in(&text, codename));
    found.ok_or_else(|| {
        Problem::new(format!(
            "the sources of apt-get name no mirror of {codename} main"
        ))
    })
}

/// Finds the mirror in a file of either form: a paragraph of fields, or one line.
fn mirror_in(text: &str, codename: &str) -> Option<Mirror> {
    let paragraphs = text
        .split("\n\n")
        .filter_map(|paragraph| in_paragraph(paragraph, codename));
    paragraphs
        .chain(text.lines().filter_map(|line| in_line(line, codename)))
        .next()
}

fn in_paragraph(text: &str, codename: &str) -> Option<Mirror> {
    let field = |name: &str| {
        let values = text.lines().filter_map(|line| line.split_once(':'));
        values
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .next()
    };
    let has = |name: &str, word: &str| {
        field(name).is_some_and(|value| value.split_whitespace().any(|part| part == word))
    };
    (has("Types", "deb") && has("Suites", codename) && has("Components", "main")).then_some(())?;
    Some(Mirror {
        address: field("URIs")?.split_whitespace().next()?.to_owned(),
        keyring: field("Signed-By")
            .filter(|value| value.starts_with('/'))
            .map(str::to_owned),
    })
}

fn in_line(line: &str, codename: &str) -> Option<Mirror> {
    let rest = line.trim().strip_prefix("deb ")?.trim();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (address, suite) = (words.next()?, words.next()?);
    (suite == codename && words.any(|word| word == "main")).then(|| Mirror {
        address: address.to_owned(),
        keyring: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(address: &str, keyring: Option<&str>) -> Option<Mirror> {
        Some(Mirror {
            address: address.to_owned(),
            keyring: keyring.map(str::to_owned),
        })
    }

    #[test]
    fn the_mirror_is_found_in_paragraphs() {
        let text = "Types: deb\nURIs: http://security.example/debian\nSuites: bookworm-security\nComponents: main\n\n\
                    Types: deb\n# a comment: x\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main contrib\nSigned-By: /usr/share/keyrings/k.gpg\n";
        assert_eq!(
            mirror_in(text, "bookworm"),
            mirror("http://mirror.example/debian", Some("/usr/share/keyrings/k.gpg"))
        );
        assert_eq!(mirror_in(text, "trixie"), None);
    }

    #[test]
    fn the_mirror_is_found_in_lines() {
        let text = "# deb http://old.example/debian bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://a.example/d bookworm main\n";
        assert_eq!(
            mirror_in(text, "bookworm"),
            mirror("http://a.example/d", Some("/k.gpg"))
        );
        assert_eq!(
            mirror_in("deb http://b.example/d sid contrib main", "sid"),
            mirror("http://b.example/d", None)
        );
        assert_eq!(mirror_in("deb-src http://b.example/d sid main", "sid"), None);
    }

    #[test]
    fn the_line_for_another_release_keeps_the_keyring() {
        let line = mirror("http://a.example/d", Some("/k.gpg"))
            .expect("a mirror")
            .line("bullseye");
        assert_eq!(line, "deb [signed-by=/k.gpg] http://a.example/d bullseye main");
    }
}
