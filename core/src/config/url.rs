//! The URL that names a backend: which one, where it is, as whom, and its parameters.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::secret::{self, MASK, Secret};
use super::{humane, url_parse};
use crate::error::{Error, Result};

/// What is kept as it is in a path, a host, a name.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const KEPT_IN_PATH: &AsciiSet = &KEPT
    .remove(b'/')
    .remove(b':')
    .remove(b'+')
    .remove(b'=')
    .remove(b',');

/// The port of a [`Host`] follows its name; a name with colons is an IPv6 address and stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Host {
    /// A DNS name or an IP address, the latter without brackets.
    pub name: String,
    /// The port, if the URL gives one.
    pub port: Option<u16>,
}

impl Host {
    /// A host, with or without a port.
    #[must_use]
    pub fn new(name: impl Into<String>, port: Option<u16>) -> Self {
        Self {
            name: name.into(),
            port,
        }
    }

    /// `name:port`, with the backend's usual port where the URL gives none.
    #[must_use]
    pub fn or_port(&self, usual: u16) -> String {
        Self::new(self.name.clone(), Some(self.port.unwrap_or(usual))).to_string()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]", self.name)?;
        } else {
            write!(f, "{}", utf8_percent_encode(&self.name, KEPT))?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Names a backend: `memory://`, `redis://:password@cache:6379/0`, `etcd://a:2379,b:2379?dial_timeout=5s`, `sqlite://data/app.db`.
///
/// ```text
/// scheme "://" [ user [ ":" password ] "@" ] [ host { "," host } ] [ "/" path ] [ "?" name "=" value { "&" name "=" value } ]
/// scheme "://" path [ "?" … ]                              for schemes that name a file: sqlite, tantivy, file, …+file
/// ```
///
/// Everything but the scheme is percent-decoded. `Display` and `Debug` hide credentials, and so does serialisation; no
/// error ever quotes the URL. In configuration it is a string.
///
/// ```
/// use infra_core::config::BackendUrl;
///
/// let url: BackendUrl = "etcd://root:s%40fe@a:2379,b:2379/apps?dial_timeout=5s".parse()?;
/// assert_eq!(url.scheme(), "etcd");
/// assert_eq!(url.hosts().len(), 2);
/// assert_eq!(url.password().map(|password| password.expose().as_str()), Some("s@fe"));
/// assert_eq!(url.duration_param("dial_timeout")?, Some(std::time::Duration::from_secs(5)));
/// assert_eq!(url.to_string(), "etcd://root:[redacted]@a:2379,b:2379/apps?dial_timeout=5s");
///
/// let error = url.check_params(&["dial_timeot"]).unwrap_err();
/// assert!(error.message().contains("`dial_timeout` is no parameter"));
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BackendUrl {
    pub(super) scheme: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret<String>>,
    pub(super) hosts: Vec<Host>,
    /// Without the slash that separates it from the hosts; whole for schemes that name a file.
    pub(super) path: Option<String>,
    pub(super) params: Vec<(String, String)>,
}

impl BackendUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that says what is wrong without quoting the URL.
    pub fn parse(text: &str) -> Result<Self> {
        url_parse::parse(text).map_err(|error| error.at("config", "", "parse"))
    }

    /// `memory://`, the embedded default of nearly every component.
    #[must_use]
    pub fn memory() -> Self {
        Self::bare("memory")
    }

    /// A backend on one host, for defaults in code: `BackendUrl::server("redis", "localhost", 6379)`.
    #[must_use]
    pub fn server(scheme: &str, host: &str, port: u16) -> Self {
        Self {
            hosts: vec![Host::new(host, Some(port))],
            ..Self::bare(scheme)
        }
    }

    /// A backend in a file or directory, for defaults in code: `BackendUrl::file("sqlite", "data/app.db")`.
    #[must_use]
    pub fn file(scheme: &str, path: &str) -> Self {
        Self {
            path: Some(path.to_owned()),
            ..Self::bare(scheme)
        }
    }

    fn bare(scheme: &str) -> Self {
        Self {
            scheme: scheme.to_ascii_lowercase(),
            user: None,
            password: None,
            hosts: Vec::new(),
            path: None,
            params: Vec::new(),
        }
    }

    /// The same URL with one more host.
    #[must_use]
    pub fn with_host(mut self, host: Host) -> Self {
        self.hosts.push(host);
        self
    }

    /// The same URL with credentials; an empty user means none, as Redis has it.
    #[must_use]
    pub fn with_credentials(mut self, user: impl Into<String>, password: Secret<String>) -> Self {
        self.user = Some(user.into()).filter(|user| !user.is_empty());
        self.password = Some(password);
        self
    }

    /// The same URL with `name` set to `value`.
    #[must_use]
    pub fn with_param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.params.retain(|(known, _)| *known != name);
        self.params.push((name, value.into()));
        self
    }

    /// The scheme, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether the scheme names a file or directory, so that the URL has a [`path`](Self::path) and no hosts.
    #[must_use]
    pub fn names_file(&self) -> bool {
        url_parse::names_file(&self.scheme)
    }

    /// The hosts, in order; empty for embedded backends.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The user, where the URL names one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, where the URL has one.
    #[must_use]
    pub fn password(&self) -> Option<&Secret<String>> {
        self.password.as_ref()
    }

    /// The path, decoded.
    ///
    /// For `sqlite://data/app.db` it is `data/app.db`, for `sqlite:///var/app.db` it is `/var/app.db`. After hosts it comes
    /// without the slash that separates it from them: `0` in `redis://cache/0`, `/` in `amqp://broker/%2F`, the empty text
    /// in `amqp://broker/`, and `None` in `amqp://broker`.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The query parameters, decoded, in order.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> + '_ {
        self.params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The parameter `name`, read as a `T`; `None` when the URL does not have it.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that names the parameter, and not its value, when it cannot be read.
    pub fn param<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.raw_param(name)
            .map(|value| {
                value
                    .parse()
                    .map_err(|_| Self::bad_param(name, std::any::type_name::<T>()))
            })
            .transpose()
    }

    /// The parameter `name`, read as a duration such as `1m30s`.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that names the parameter when it is no duration.
    pub fn duration_param(&self, name: &str) -> Result<Option<Duration>> {
        self.raw_param(name)
            .map(|value| {
                humane::parse(value).map_err(|_| Self::bad_param(name, "a duration such as \"1m30s\""))
            })
            .transpose()
    }

    /// Refuses parameters that the backend does not know, so that a typing error is not ignored.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that names every unknown parameter and lists the known ones.
    pub fn check_params(&self, known: &[&str]) -> Result<()> {
        let unknown: Vec<_> = self
            .params
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let (verb, list) = match unknown.as_slice() {
            [] => return Ok(()),
            [only] => ("is no parameter", only.clone()),
            several => ("are no parameters", several.join(", ")),
        };
        let advice = if known.is_empty() {
            "it takes none".to_owned()
        } else {
            format!("it takes {}", known.join(", "))
        };
        Err(
            Error::invalid_config(format!("{list} {verb} of a {}:// URL; {advice}", self.scheme))
                .at("config", "", "parse"),
        )
    }

    /// Refuses a user and a password, for a backend that knows none: they would be ignored, or taken for part of a file's name.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig).
    pub fn check_no_credentials(&self) -> Result<()> {
        if self.user.is_none() && self.password.is_none() {
            return Ok(());
        }
        Err(Error::invalid_config(format!(
            "a {}:// URL takes no user and no password; leave them out",
            self.scheme
        ))
        .at("config", "", "parse"))
    }

    /// The whole URL with its credentials, for a driver. Do not format it.
    #[must_use]
    pub fn expose(&self) -> Secret<String> {
        Secret::new(
            Rendered {
                url: self,
                masked: false,
            }
            .to_string(),
        )
    }

    fn raw_param(&self, name: &str) -> Option<&str> {
        self.params()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    fn bad_param(name: &str, expected: &str) -> Error {
        Error::invalid_config(format!("the URL parameter `{name}` cannot be read as {expected}"))
            .at("config", "", "parse")
    }
}

impl FromStr for BackendUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Rendered {
            url: self,
            masked: true,
        }
        .fmt(f)
    }
}

impl fmt::Debug for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendUrl({self})")
    }
}

impl Serialize for BackendUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let masked = !secret::is_revealed();
        serializer.collect_str(&Rendered { url: self, masked })
    }
}

impl<'de> Deserialize<'de> for BackendUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Secret::<String>::deserialize(deserializer)?;
        Self::parse(text.expose()).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

struct Rendered<'a> {
    url: &'a BackendUrl,
    masked: bool,
}

impl Rendered<'_> {
    fn credentials(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = utf8_percent_encode(self.url.user.as_deref().unwrap_or_default(), KEPT);
        match (&self.url.user, &self.url.password) {
            (None, None) => Ok(()),
            // A user alone may be a token.
            (Some(_), None) if self.masked => write!(f, "{MASK}@"),
            (_, None) => write!(f, "{user}@"),
            (_, Some(_)) if self.masked => write!(f, "{user}:{MASK}@"),
            (_, Some(password)) => write!(f, "{user}:{}@", utf8_percent_encode(password.expose(), KEPT)),
        }
    }
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.url.scheme)?;
        self.credentials(f)?;
        for (position, host) in self.url.hosts.iter().enumerate() {
            write!(f, "{}{host}", if position == 0 { "" } else { "," })?;
        }
        if let Some(path) = &self.url.path {
            if self.url.names_file() {
                write!(f, "{}", utf8_percent_encode(path, KEPT_IN_PATH))?;
            } else {
                // The leading slash of an AMQP virtual host is data.
                let rest = path.trim_start_matches('/');
                write!(
                    f,
                    "/{}{}",
                    "%2F".repeat(path.len() - rest.len()),
                    utf8_percent_encode(rest, KEPT_IN_PATH)
                )?;
            }
        }
        for (position, (name, value)) in self.url.params.iter().enumerate() {
            let separator = if position == 0 { '?' } else { '&' };
            write!(f, "{separator}{}=", utf8_percent_encode(name, KEPT))?;
            if self.masked && may_be_secret(name) {
                f.write_str(MASK)?;
            } else {
                write!(f, "{}", utf8_percent_encode(value, KEPT_IN_PATH))?;
            }
        }
        Ok(())
    }
}

/// Whether a parameter's name suggests that its value must not be seen.
fn may_be_secret(name: &str) -> bool {
    const SIGNS: [&str; 7] = ["pass", "pwd", "secret", "token", "key", "credential", "auth"];
    let name = name.to_ascii_lowercase();
    SIGNS.iter().any(|sign| name.contains(sign))
}
