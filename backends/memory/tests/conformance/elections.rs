//! ELECT on the locks of the coordinator and of the cache.

mod on_the_coordinator {
    use crate::locks::coordinator;
    infra_testkit::conformance::elections!(coordinator, every_mode);
}

mod on_the_cache {
    use crate::locks::cache;
    infra_testkit::conformance::elections!(cache, every_mode);
}
