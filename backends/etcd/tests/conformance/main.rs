//! The conformance suite on real etcd servers, one node and three: directly and behind the standard stack.

mod ground;
mod native;

/// What waits for the clock of a server: the tests of this module are played many at once.
mod on_the_server {
    /// One node.
    mod single {
        use infra_testkit::conformance;

        use crate::ground::single::{center, ids, locks, registry};

        conformance::config_centers!(center, bare_and_standard_stack);
        conformance::elections!(locks);
        conformance::instance_ids!(ids);
        conformance::locks!(locks, bare_and_standard_stack);
        conformance::registries!(registry, bare_and_standard_stack);
        conformance::watches!(center);
    }

    /// Three nodes, each client connected to all of them.
    mod cluster {
        use infra_testkit::conformance;

        use crate::ground::cluster::{center, ids, locks, registry};

        conformance::config_centers!(center);
        conformance::elections!(locks);
        conformance::instance_ids!(ids);
        conformance::locks!(locks);
        conformance::registries!(registry);
        conformance::watches!(center);
    }
}

/// What `etcd://` opens.
mod backends {
    use std::sync::Arc;

    use infra_core::Result;
    use infra_core::config::BackendUrl;
    use infra_testkit::conformance::backends::{Component, Opening};
    use infra_testkit::conformance::{self, Fixture, Setup};
    use infra_testkit::servers;

    async fn opening(_setup: Setup) -> Result<Fixture<Opening>> {
        let url = BackendUrl::parse(&servers::url("etcd")?)?;
        let opening = Opening::new(Component::Coordination, infra_etcd::register, url, "watch_buffer");
        let opening = Arc::new(opening);
        Ok(Fixture::server(move || {
            let opening = Arc::clone(&opening);
            async { Ok(opening) }
        }))
    }

    conformance::backends!(opening);
}
