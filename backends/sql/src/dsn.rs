//! Data source names: what they mean, and how they are shown without credentials. No I/O.

use std::path::PathBuf;

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

/// Understands `sqlite:PATH`, `sqlite://PATH`, `sqlite::memory:`, each with `?mode=`.
///
/// # Errors
/// What is wrong, in words, without the name's credentials.
pub(crate) fn parse(url: &str) -> Result<Location, String> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(format!(
            "{:?} has no scheme; write sqlite://path/to/file.db or sqlite::memory:",
            redacted(url)
        ));
    };
    if scheme != "sqlite" {
        return Err(format!(
            "the scheme {scheme:?} of {:?} is not compiled in; this build knows: sqlite",
            redacted(url)
        ));
    }
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut mode = "rwc";
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("mode", value @ ("ro" | "rw" | "rwc" | "memory"))) => mode = value,
            Some(("cache", "shared")) => {}
            _ => {
                let key = pair.split('=').next().unwrap_or_default();
                return Err(format!(
                    "{:?} has the option {key:?} with a value that is not known; known are mode=ro|rw|rwc|memory and cache=shared",
                    redacted(url)
                ));
            }
        }
    }
    if path.contains('\0') {
        return Err("the path contains a NUL character".to_owned());
    }
    let access = match mode {
        _ if path == ":memory:" => return Ok(Location::Memory { name: None }),
        "memory" => {
            let name = (!path.is_empty()).then(|| path.to_owned());
            return Ok(Location::Memory { name });
        }
        "ro" => Access::Read,
        "rw" => Access::Write,
        _ => Access::Create,
    };
    if path.is_empty() {
        return Err(format!(
            "{:?} names no file; write sqlite://path/to/file.db or sqlite::memory:",
            redacted(url)
        ));
    }
    Ok(Location::File {
        path: path.into(),
        access,
    })
}

/// The name for people to read: user, password and options are left out.
pub(crate) fn redacted(url: &str) -> String {
    let without_options = url.split('?').next().unwrap_or_default();
    let Some((scheme, rest)) = without_options.split_once("://") else {
        // Not a URL: it might be a bare `user:password@host`.
        return match without_options.rsplit_once('@') {
            Some((_, host)) => format!("***@{host}"),
            None => without_options.to_owned(),
        };
    };
    // A password may contain any character, `/` included, so that only the last `@` ends it.
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}"),
        None => without_options.to_owned(),
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
            ("sqlite://data/app.db", file("data/app.db", Access::Create)),
            (
                "sqlite:///var/lib/app.db?mode=ro",
                file("/var/lib/app.db", Access::Read),
            ),
            ("sqlite://app.db?mode=rw", file("app.db", Access::Write)),
        ] {
            assert_eq!(parse(url), Ok(expected), "{url}");
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
            "postgres://root:hunter2@localhost/app",
            "root:hunter2@tcp(localhost:3306)/app",
            "mysql://root:hunter2/@x@localhost/app?password=hunter2",
        ] {
            let problem = parse(url).expect_err(url);
            assert!(!problem.contains("hunter2"), "{problem}");
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
