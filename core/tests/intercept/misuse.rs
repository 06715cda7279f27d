//! What the compiler says to misuse: each message says what to write instead.

#[test]
fn messages_say_what_to_write_instead() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
