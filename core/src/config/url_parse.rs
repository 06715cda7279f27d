//! The grammar of a backend's URL. No message quotes any part of the text but a scheme that is well formed.

use percent_encoding::percent_decode_str;

use super::secret::Secret;
use super::url::{BackendUrl, Host};
use crate::error::{Error, Result};

/// Whether everything between `://` and `?` is a path.
pub(super) fn names_file(scheme: &str) -> bool {
    matches!(scheme, "sqlite" | "tantivy" | "file") || scheme.ends_with("+file")
}

pub(super) fn parse(text: &str) -> Result<BackendUrl> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Error::invalid_config(
            "not a backend URL; write scheme://…, for instance memory:// or redis://localhost:6379",
        ));
    };
    let scheme = scheme.to_ascii_lowercase();
    if !is_scheme(&scheme) {
        return Err(Error::invalid_config(
            "the scheme of the backend URL must be a letter followed by letters, digits, +, - or .",
        ));
    }
    let refuse = |what: &str| Error::invalid_config(format!("the {scheme}:// URL {what}"));
    if rest
        .chars()
        .any(|character| character.is_control() || character.is_whitespace())
    {
        return Err(refuse(
            "contains white space or a control character; percent-encode it",
        ));
    }
    if rest.contains('#') {
        return Err(refuse("contains #; write %23"));
    }
    let (location, query) = match rest.split_once('?') {
        Some((location, query)) => (location, Some(query)),
        None => (rest, None),
    };
    let mut url = BackendUrl {
        scheme: scheme.clone(),
        user: None,
        password: None,
        hosts: Vec::new(),
        path: None,
        params: Vec::new(),
    };
    let decoding = |what: &'static str| refuse(what);
    if names_file(&scheme) {
        url.path = (!location.is_empty())
            .then(|| decode(location))
            .transpose()
            .map_err(decoding)?;
    } else {
        let (authority, path) = match location.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (location, None),
        };
        url.path = path.map(decode).transpose().map_err(decoding)?;
        let hosts = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => {
                read_credentials(credentials, &mut url).map_err(decoding)?;
                hosts
            }
            None => authority,
        };
        if !hosts.is_empty() {
            url.hosts = hosts
                .split(',')
                .map(read_host)
                .collect::<Result<_, _>>()
                .map_err(decoding)?;
        }
    }
    if let Some(query) = query {
        url.params = read_params(query).map_err(|what| refuse(&what))?;
    }
    Ok(url)
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
}

fn read_credentials(credentials: &str, url: &mut BackendUrl) -> Result<(), &'static str> {
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (credentials, None),
    };
    url.user = (!user.is_empty()).then(|| decode(user)).transpose()?;
    url.password = password.map(decode).transpose()?.map(Secret::new);
    Ok(())
}

fn read_host(text: &str) -> Result<Host, &'static str> {
    const BAD_PORT: &str = "has a port that is no number from 0 to 65535";
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (name, after) = rest
            .split_once(']')
            .ok_or("has an IPv6 address without its closing bracket")?;
        if name.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("has brackets around something that is no IPv6 address");
        }
        let port = match after {
            "" => None,
            _ => Some(
                after
                    .strip_prefix(':')
                    .ok_or("has text between an IPv6 address and its port")?,
            ),
        };
        (name.to_owned(), port)
    } else {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        (decode(name)?, port)
    };
    if name.is_empty() {
        return Err(
            "has an empty host name; an unescaped / ? or @ in the password looks like this, percent-encode it",
        );
    }
    let port = match port {
        // `parse` alone would accept a sign.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse().map_err(|_| BAD_PORT)?)
        }
        Some(_) => return Err(BAD_PORT),
        None => None,
    };
    Ok(Host::new(name, port))
}

fn read_params(query: &str) -> Result<Vec<(String, String)>, String> {
    let mut params: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or("has a query parameter without a value; write name=value")?;
        let (name, value) = (decode(name)?, decode(value)?);
        if name.is_empty() {
            return Err("has a query parameter without a name; write name=value".to_owned());
        }
        if params.iter().any(|(known, _)| *known == name) {
            return Err(format!("has the query parameter `{name}` twice"));
        }
        params.push((name, value));
    }
    Ok(params)
}

/// Decodes percent escapes strictly: a stray `%` is an error rather than itself.
fn decode(text: &str) -> Result<String, &'static str> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        match after.as_bytes() {
            [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest = after,
            _ => {
                return Err(
                    "has a % that two hexadecimal digits do not follow; write %25 for a percent sign",
                );
            }
        }
    }
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| "has percent escapes that are not UTF-8")?;
    if decoded.contains('\0') {
        return Err("contains a NUL character");
    }
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ok(text: &str) -> BackendUrl {
        BackendUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn reads_every_form() {
        let url = ok("Redis://user:p%40ss:word@cache-1:6380,[::1]:6379,cache-2/0?pool=8&name=a%26b");
        assert_eq!((url.scheme(), url.user()), ("redis", Some("user")));
        assert_eq!(url.password().map(|p| p.expose().as_str()), Some("p@ss:word"));
        let hosts: Vec<_> = url.hosts().iter().map(|host| host.or_port(1)).collect();
        assert_eq!(hosts, ["cache-1:6380", "[::1]:6379", "cache-2:1"]);
        assert_eq!(url.path(), Some("0"));
        assert_eq!(url.param::<u32>("pool").expect("a number"), Some(8));
        assert_eq!(url.param::<String>("name").expect("text").as_deref(), Some("a&b"));
        assert_eq!(url.param::<u32>("absent").expect("absent"), None);

        let memory = ok("memory://");
        assert!(memory.hosts().is_empty() && memory.path().is_none());
        assert_eq!(memory, BackendUrl::memory());
        for (text, path) in [
            ("amqp://b", None),
            ("amqp://b/", Some("")),
            ("amqp://b/%2F", Some("/")),
            ("sqlite://data/app.db", Some("data/app.db")),
            ("sqlite://:memory:", Some(":memory:")),
            ("sqlite:///abs/a@b.db?mode=ro", Some("/abs/a@b.db")),
            ("tantivy://./dir", Some("./dir")),
            ("tantivy://", None),
        ] {
            assert_eq!(ok(text).path(), path, "{text}");
        }
    }

    #[test]
    fn refuses_without_quoting() {
        for text in [
            "hunter2",
            "hunter 2://x",
            "1redis://x",
            "redis://:hunter2/x@host",
            "redis://:hunter2@host:99999",
            "redis://:hunter2@host:+1",
            "redis://:hunter%2@host",
            "redis://:hunter2%ff@host",
            "redis://:hunter2%00@host",
            "redis://:hunter2#@host",
            "redis://:hunter2@host name",
            "redis://:hunter2@a,,b",
            "redis://:hunter2@",
            "redis://:hunter2@[::1",
            "redis://:hunter2@[::1]6379",
            "redis://:hunter2@[x]",
            "redis://host?hunter2",
            "redis://host?=hunter2",
            "redis://host?a=hunter2&a=hunter2",
        ] {
            if text == "redis://:hunter2@" {
                assert!(ok(text).hosts().is_empty());
                continue;
            }
            let error = BackendUrl::parse(text).expect_err(text);
            assert_eq!(error.kind(), crate::ErrorKind::InvalidConfig);
            assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
        }
        let error = ok("redis://h?pool=hunter2")
            .param::<u32>("pool")
            .expect_err("no number");
        assert!(
            error.message().contains("`pool`") && !error.message().contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn credentials_are_shown_to_the_driver_alone() {
        let url = ok("pg://bob:hunter2@db/app?sslmode=require&api_key=hunter2");
        let shown = "pg://bob:[redacted]@db/app?sslmode=require&api_key=[redacted]";
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), format!("BackendUrl({shown})"));
        assert_eq!(
            serde_json::to_string(&url).expect("serialises"),
            format!("\"{shown}\"")
        );
        assert_eq!(
            url.expose().expose(),
            "pg://bob:hunter2@db/app?sslmode=require&api_key=hunter2"
        );
        assert_eq!(ok("es://hunter2@h").to_string(), "es://[redacted]@h");
        let error = serde_json::from_str::<BackendUrl>("\"redis://:hunter2@h:x\"").expect_err("bad port");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_what_parses_round_trips(
            text in "(redis|sqlite|x\\+file)?(://)?[a-z0-9:/@?&=%,\\[\\]#. é]{0,40}",
        ) {
            if let Ok(url) = BackendUrl::parse(&text) {
                let again = ok(url.expose().expose());
                prop_assert_eq!(again, url);
            }
        }

        #[test]
        fn any_credentials_and_parameters_survive(user in "\\PC{1,12}", password in "\\PC{0,12}", value in "\\PC{0,12}") {
            let url = BackendUrl::server("redis", "h", 1)
                .with_credentials(user, Secret::new(password))
                .with_param("p", value);
            prop_assert_eq!(ok(url.expose().expose()), url);
        }
    }
}
