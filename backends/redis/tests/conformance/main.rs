//! The conformance suite on real Redis servers, one and a cluster of three: directly and behind the standard stack.

mod backends;
mod ground;
mod locks;
mod rate_limits;

/// What waits for the clock of a server: the tests of this module are played many at once.
mod on_the_server {
    /// One server.
    mod single {
        use infra_testkit::conformance;

        use crate::ground::single::{
            bloom, hashes, key_values, loaders, locks, once, scripts, sets, sorted_sets,
        };

        conformance::bloom!(bloom, bare_and_standard_stack);
        conformance::elections!(locks);
        conformance::hashes!(hashes, bare_and_standard_stack);
        conformance::key_values!(key_values, bare_and_standard_stack);
        // Behind the stack its breaker stays open for longer than a scenario may take.
        conformance::loading!(loaders);
        conformance::locks!(locks, bare_and_standard_stack);
        conformance::once!(once, bare_and_standard_stack);
        conformance::scripts!(scripts, bare_and_standard_stack);
        conformance::sets!(sets, bare_and_standard_stack);
        conformance::sorted_sets!(sorted_sets, bare_and_standard_stack);
    }

    /// Strings, with values kept in the process too.
    mod two_tier {
        mod single {
            infra_testkit::conformance::key_values!(crate::ground::two_tier);
        }

        mod cluster {
            infra_testkit::conformance::key_values!(crate::ground::two_tier_on_the_cluster);
        }
    }

    /// Strings, with concurrent reads travelling together.
    mod coalesced {
        mod single {
            infra_testkit::conformance::key_values!(crate::ground::coalesced);
        }

        mod cluster {
            infra_testkit::conformance::key_values!(crate::ground::coalesced_on_the_cluster);
        }
    }

    /// Locks in GoChat's format, on one server and on three masters.
    mod gochats {
        mod single {
            infra_testkit::conformance::locks!(crate::ground::single::gochats_locks);
        }

        mod cluster {
            infra_testkit::conformance::locks!(crate::ground::cluster::gochats_locks);
        }
    }

    /// Three masters, each client connected to all of them.
    mod cluster {
        use infra_testkit::conformance;

        use crate::ground::cluster::{
            bloom, hashes, key_values, loaders, locks, once, scripts, sets, sorted_sets,
        };

        conformance::bloom!(bloom);
        conformance::elections!(locks);
        conformance::hashes!(hashes);
        conformance::key_values!(key_values);
        conformance::loading!(loaders);
        conformance::locks!(locks);
        conformance::once!(once);
        conformance::scripts!(scripts);
        conformance::sets!(sets);
        conformance::sorted_sets!(sorted_sets);
    }
}
