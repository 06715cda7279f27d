//! Where things are kept: one folder for each contract, and nothing that escapes it. Below the configured prefix in our own format,
//! or where GoChat's im-infra keeps them.

use infra_core::config::Compat;
use infra_core::coordination::{ConfigWrite, WatchScope};
use infra_core::{Error, Result};

/// The scheme of keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    compat: Compat,
    prefix: String,
}

impl Keys {
    /// `prefix` is of no account in GoChat's format, which has places of its own.
    pub(crate) fn new(compat: Compat, prefix: &str) -> Self {
        Self {
            compat,
            prefix: prefix.to_owned(),
        }
    }

    pub(crate) fn compat(&self) -> Compat {
        self.compat
    }

    /// Where configuration is kept. Its keys stand as they are: they are told apart by all of their bytes. GoChat's own code puts
    /// its prefix before keys that have it already.
    pub(crate) fn configuration(&self) -> String {
        match self.compat {
            Compat::GoChat => "/config/config/".to_owned(),
            _ => format!("{}config/", self.prefix),
        }
    }

    /// Where those who hold or wait for a lock stand in line.
    pub(crate) fn lock(&self, key: &str) -> String {
        match self.compat {
            Compat::GoChat => format!("/locks/{key}/"),
            _ => format!("{}locks/{}/", self.prefix, segment(key)),
        }
    }

    /// Where the numbers of a service's instances are taken.
    pub(crate) fn instance_ids(&self, service: &str) -> String {
        match self.compat {
            Compat::GoChat => format!("/im-infra/allocators/{service}/ids/"),
            _ => format!("{}instance_ids/{}/", self.prefix, segment(service)),
        }
    }

    /// What stands under the number of an instance that lives.
    pub(crate) fn taken(&self, number: u16) -> String {
        match self.compat {
            Compat::GoChat => number.to_string(),
            _ => "taken".to_owned(),
        }
    }

    /// What stands under a number that was given back and is not given out yet.
    pub(crate) fn resting(&self, number: u16) -> String {
        match self.compat {
            Compat::GoChat => number.to_string(),
            _ => "resting".to_owned(),
        }
    }

    /// Where the instances of a service are registered.
    pub(crate) fn service(&self, service: &str) -> String {
        match self.compat {
            Compat::GoChat => format!("/services/{service}/"),
            _ => format!("{}services/{}/", self.prefix, segment(service)),
        }
    }

    /// Where one instance is registered.
    pub(crate) fn instance(&self, service: &str, id: &str) -> String {
        match self.compat {
            Compat::GoChat => format!("{}{id}", self.service(service)),
            _ => format!("{}{}", self.service(service), segment(id)),
        }
    }

    /// The id of the instance that a key below a service's folder belongs to.
    pub(crate) fn instance_id(&self, rest: &str) -> String {
        match self.compat {
            Compat::GoChat => rest.to_owned(),
            _ => rest.replace("%2F", "/").replace("%25", "%"),
        }
    }

    /// Refuses a name that a Go service would find elsewhere: its code joins paths, which removes empty parts, `.` and `..`. `what`
    /// names it in the message. Our own format takes every name.
    pub(crate) fn check_path(&self, what: &str, name: &str) -> Result<()> {
        let is_kept = |part: &str| !matches!(part, "" | "." | "..");
        if self.compat != Compat::GoChat || name.split('/').all(is_kept) {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "the {what} {name:?} has an empty part, `.` or `..` between its slashes, and GoChat's services would look for it under another name"
        )))
    }

    /// The same for a name that is one part of a path.
    pub(crate) fn check_part(&self, what: &str, name: &str) -> Result<()> {
        self.check_path(what, name)?;
        if self.compat == Compat::GoChat && name.contains('/') {
            return Err(Error::invalid_argument(format!(
                "the {what} {name:?} has a slash, which is where GoChat's services end it"
            )));
        }
        Ok(())
    }

    pub(crate) fn check_scope(&self, scope: &WatchScope) -> Result<()> {
        match scope {
            WatchScope::Key(key) => self.check_path("configuration key", key),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_writes(&self, writes: &[ConfigWrite]) -> Result<()> {
        writes
            .iter()
            .try_for_each(|write| self.check_path("configuration key", write.key()))
    }
}

/// A name as one part of a path: `/` and `%` are escaped, so that no name reaches into the folder of another.
fn segment(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_never_reach_into_another_folder() {
        let keys = Keys::new(Compat::Native, "infra/");
        for text in ["users", "users/a", "a%2Fb", "%", "..", "//", "a/", "ä\n\0"] {
            assert_eq!(keys.instance_id(&segment(text)), text);
            assert!(!segment(text).contains('/'));
            assert!(keys.check_part("service", text).is_ok());
        }
        assert!(!keys.instance("users/a", "1").starts_with(&keys.service("users")));
        assert_ne!(keys.lock("a/b"), keys.lock("a%2Fb"));
    }

    #[test]
    fn gochats_places_are_those_of_its_code() {
        let keys = Keys::new(Compat::GoChat, "infra/");
        assert_eq!(keys.instance("user", "user-1"), "/services/user/user-1");
        assert_eq!(keys.lock("daily"), "/locks/daily/");
        assert_eq!(keys.instance_ids("gateway"), "/im-infra/allocators/gateway/ids/");
        assert_eq!(
            keys.configuration() + "dev/global/db",
            "/config/config/dev/global/db"
        );
        for (name, path, part) in [
            ("a", true, true),
            ("a/b", true, false),
            ("../services/x", false, false),
            ("a//b", false, false),
            ("a/", false, false),
            ("/a", false, false),
            (".", false, false),
        ] {
            assert_eq!(keys.check_path("lock key", name).is_ok(), path, "{name}");
            assert_eq!(keys.check_part("service", name).is_ok(), part, "{name}");
        }
    }
}
