//! A fault that nothing meets fails the test; a seed is printed when one fails.

use infra_core::ErrorKind;
use infra_core::intercept::Fault;
use infra_testkit::TestInfra;

#[tokio::test]
#[should_panic(expected = r#"no call has met: "cache.gte"; what was called is cache.get"#)]
async fn a_mistyped_method_fails_the_test() {
    let infra = TestInfra::new();
    infra
        .faults()
        .script("cache.gte", [Fault::Err(ErrorKind::Unavailable)]);
    infra.cache().get("key").await.expect("well");
}

#[tokio::test]
async fn unused_faults_can_be_allowed() {
    let infra = TestInfra::new().allow_unused_faults();
    infra.faults().always("search.*", Fault::Hang);
    assert_eq!(infra.faults().unused().len(), 1);
}

/// The test that fails, when it is asked to; run by the next one.
#[tokio::test]
async fn fails_when_asked_to() {
    if std::env::var_os("FAIL_WHEN_ASKED_TO").is_none() {
        return;
    }
    let infra = TestInfra::seeded(4711).with_chance(1.0, Fault::Err(ErrorKind::Unavailable));
    infra.cache().get("key").await.expect("chance has it otherwise");
}

#[test]
fn the_seed_is_printed_when_a_test_fails() {
    let output = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "unused::fails_when_asked_to", "--nocapture"])
        .env("FAIL_WHEN_ASKED_TO", "1")
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("TestInfra::seeded(4711)"), "{said}");
}
