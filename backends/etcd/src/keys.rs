//! Where things are kept: one folder for each contract below the configured prefix, and nothing that escapes it.

/// The scheme of keys below one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// Where configuration is kept. Its keys stand as they are: they are told apart by all of their bytes.
    pub(crate) fn configuration(&self) -> String {
        format!("{}config/", self.prefix)
    }

    /// Where those who hold or wait for a lock stand in line.
    pub(crate) fn lock(&self, key: &str) -> String {
        format!("{}locks/{}/", self.prefix, segment(key))
    }

    /// Where the numbers of a service's instances are taken.
    pub(crate) fn instance_ids(&self, service: &str) -> String {
        format!("{}instance_ids/{}/", self.prefix, segment(service))
    }

    /// Where the instances of a service are registered.
    pub(crate) fn service(&self, service: &str) -> String {
        format!("{}services/{}/", self.prefix, segment(service))
    }

    /// Where one instance is registered.
    pub(crate) fn instance(&self, service: &str, id: &str) -> String {
        format!("{}{}", self.service(service), segment(id))
    }
}

/// A name as one part of a path: `/` and `%` are escaped, so that no name reaches into the folder of another.
pub(crate) fn segment(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

/// The name that became this part of a path.
pub(crate) fn name(segment: &str) -> String {
    segment.replace("%2F", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_never_reach_into_another_folder() {
        let keys = Keys::new("infra/");
        for text in ["users", "users/a", "a%2Fb", "%", "..", "//", "a/", "ä\n\0"] {
            assert_eq!(name(&segment(text)), text);
            assert!(!segment(text).contains('/'));
        }
        assert!(!keys.instance("users/a", "1").starts_with(&keys.service("users")));
        assert_ne!(keys.lock("a/b"), keys.lock("a%2Fb"));
    }
}
