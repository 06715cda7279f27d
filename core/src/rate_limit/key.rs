//! The keys of buckets: distinct for distinct names, whatever characters those consist of.

use crate::config::Compat;

/// Writes the keys of one rule.
#[derive(Debug, Clone)]
pub(super) struct KeyWriter {
    /// Everything before the resource.
    prefix: String,
    /// Everything after it.
    suffix: &'static str,
}

impl KeyWriter {
    /// `ratelimit:{service}:{rule}:` with `%` and `:` of the names escaped, then the resource as it is, in braces: the hash tag
    /// of a Redis cluster, so that the rules of one resource can be checked together. Under [`Compat::GoChat`] the names
    /// are joined as they are, which is what that fleet does.
    pub(super) fn new(compat: Compat, service: &str, rule: &str) -> Self {
        match compat {
            Compat::Native => Self {
                prefix: format!("ratelimit:{}:{}:{{", escape(service), escape(rule)),
                suffix: "}",
            },
            Compat::GoChat => Self {
                prefix: format!("ratelimit:{service}:{rule}:"),
                suffix: "",
            },
        }
    }

    pub(super) fn key(&self, resource: &str) -> String {
        let mut key = String::with_capacity(self.prefix.len() + resource.len() + self.suffix.len());
        key.push_str(&self.prefix);
        key.push_str(resource);
        key.push_str(self.suffix);
        key
    }
}

fn escape(name: &str) -> String {
    name.replace('%', "%25").replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn distinct_names_give_distinct_keys() {
        let parts = ["a", "a:b", "b", "%3A", ":", "a:", "{a}", "}:{", "../a", "ü"];
        let mut keys = BTreeSet::new();
        for service in parts {
            for rule in parts {
                for resource in parts {
                    keys.insert(KeyWriter::new(Compat::Native, service, rule).key(resource));
                }
            }
        }
        assert_eq!(keys.len(), parts.len().pow(3));
    }

    #[test]
    fn the_formats_are_fixed() {
        let key = |compat| KeyWriter::new(compat, "im-gateway", "send_message").key("user:123");
        assert_eq!(
            key(Compat::Native),
            "ratelimit:im-gateway:send_message:{user:123}"
        );
        assert_eq!(key(Compat::GoChat), "ratelimit:im-gateway:send_message:user:123");
    }
}
