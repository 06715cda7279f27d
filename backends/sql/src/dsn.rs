//! What the URL of a database means for SQLite. No I/O.

use std::path::PathBuf;

use infra_core::config::BackendUrl;
use infra_core::{Error, Result};

use crate::dialect::Dialect;

/// Where an SQLite database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// In memory, shared by the connections of one process that give the same name; without a name nobody else can.
    Memory { name: Option<String> },
    /// In a file.
    File { path: PathBuf, access: Access },
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Created, with its folder, when missing.
    Create,
    /// Must exist.
    Write,
    /// Must exist and is not written.
    Read,
}

/// Understands `sqlite://PATH` and `sqlite::memory:`, each with `?mode=`.
///
/// # Errors
/// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) that does not quote the URL.
pub(crate) fn parse(url: &str) -> Result<Location> {
    let url = read(url)?;
    if url.scheme() != Dialect::SQLITE.name {
        return Err(Error::invalid_config(format!(
            "the scheme {:?} is not compiled in; this build knows: {}",
            url.scheme(),
            Dialect::SQLITE.name
        )));
    }
    url.check_params(&["mode", "cache"])?;
    let path = url.path().unwrap_or_default();
    if path.contains('\0') {
        return Err(Error::invalid_config("the path contains a NUL character"));
    }
    if url
        .param::<String>("cache")?
        .is_some_and(|cache| cache != "shared")
    {
        return Err(Error::invalid_config(
            "the URL parameter `cache` can only be shared",
        ));
    }
    let mode = url.param::<String>("mode")?;
    let access = match mode.as_deref() {
        _ if path == ":memory:" => return Ok(Location::Memory { name: None }),
        Some("memory") => {
            let name = (!path.is_empty()).then(|| path.to_owned());
            return Ok(Location::Memory { name });
        }
        Some("ro") => Access::Read,
        Some("rw") => Access::Write,
        Some("rwc") | None => Access::Create,
        Some(_) => {
            return Err(Error::invalid_config(
                "the URL parameter `mode` is one of ro, rw, rwc, memory",
            ));
        }
    };
    if path.is_empty() {
        return Err(Error::invalid_config(
            "the URL names no file; write sqlite://path/to/file.db or sqlite::memory:",
        ));
    }
    Ok(Location::File {
        path: path.into(),
        access,
    })
}

/// The URL for people to read: without credentials.
pub(crate) fn redacted(url: &str) -> String {
    read(url).map_or_else(
        |_| "(a URL that cannot be read)".to_owned(),
        |url| url.to_string(),
    )
}

/// Reads the URL; SQLite's own spelling has no slashes after the scheme.
fn read(url: &str) -> Result<BackendUrl> {
    match url.strip_prefix("sqlite:") {
        Some(rest) if !rest.starts_with("//") => BackendUrl::parse(&format!("sqlite://{rest}")),
        _ => BackendUrl::parse(url),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(path: &str, access: Access) -> Location {
        Location::File {
            path: path.into(),
            access,
        }
    }

    #[test]
    fn understands_every_spelling() {
        let private = Location::Memory { name: None };
        let named = Location::Memory {
            name: Some("orders".into()),
        };
        for (url, expected) in [
            ("sqlite::memory:", private.clone()),
            ("sqlite://:memory:", private.clone()),
            ("sqlite://?mode=memory", private),
            ("sqlite://orders?mode=memory&cache=shared", named),
            ("sqlite:app.db", file("app.db", Access::Create)),
            (
                "sqlite://data/my%20app.db",
                file("data/my app.db", Access::Create),
            ),
            (
                "sqlite:///var/lib/app.db?mode=ro",
                file("/var/lib/app.db", Access::Read),
            ),
            ("sqlite://app.db?mode=rw", file("app.db", Access::Write)),
        ] {
            assert_eq!(parse(url).expect(url), expected, "{url}");
        }
    }

    #[test]
    fn refuses_the_rest_without_showing_credentials() {
        for url in [
            "",
            "app.db",
            "sqlite://",
            "sqlite://app.db?mode=banana",
            "sqlite://app.db?password=hunter2",
            "sqlite://app.db?cache=private",
            "sqlite://a%00b",
            "postgres://root:hunter2@localhost/app",
            "root:hunter2@tcp(localhost:3306)/app",
            "mysql://root:hunter2/@x@localhost/app?password=hunter2",
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind(), infra_core::ErrorKind::InvalidConfig, "{url}");
            assert!(
                !format!("{error:?} {}", redacted(url)).contains("hunter2"),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_never_shows_a_password(url in any::<String>(), password in "[a-z]{12}") {
            let _ = parse(&url);
            let shown = redacted(&format!("postgres://user:{password}@host/db"));
            prop_assert!(!shown.contains(&password));
        }
    }
}
