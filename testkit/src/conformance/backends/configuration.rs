//! What stands in a configuration file: options, URLs, passwords.

use infra_core::ErrorKind;
use infra_core::assembly::Section;
use infra_core::config::{BackendUrl, Profile, Secret};

use super::Opening;
use super::opening::Ground;
use crate::conformance::{Harness, Outcome, Premise, check, check_error};

/// The defaults of every profile are valid: a URL is all that a section needs.
pub async fn meta_001_a_url_is_enough_in_every_profile(harness: &Harness<Opening>) -> Outcome {
    let ground = Ground::new(harness).await?;
    for profile in [Profile::Development, Profile::Production] {
        let checked = ground.check(&ground.section, profile);
        check!(
            checked.is_ok(),
            "the defaults of {profile:?} are refused: {checked:?}"
        );
    }
    Ok(())
}

/// A mistyped option is no option: it is refused by its name, by the check and by the opening.
pub async fn meta_002_an_unknown_option_is_refused_by_name(harness: &Harness<Opening>) -> Outcome {
    let ground = Ground::new(harness).await?;
    let mistyped = ground.section.clone().with_option("max_conections", 3);
    for (what, refused) in ground.refusals(&mistyped).await {
        let error = check_error!(refused, ErrorKind::InvalidConfig, "{what} of an unknown option");
        check!(
            error.message().contains("max_conections"),
            "{what} does not name the unknown option: {error}"
        );
    }
    Ok(())
}

/// An option that is not of its type is refused by its name, and its value, which may be a secret that slipped, is not shown.
pub async fn meta_003_an_option_of_the_wrong_type_is_refused_without_its_value(
    harness: &Harness<Opening>,
) -> Outcome {
    let ground = Ground::new(harness).await?;
    let wrong = ground
        .section
        .clone()
        .with_option(ground.number_option, "hunter2");
    for (what, refused) in ground.refusals(&wrong).await {
        let error = refused.err().premise("text where a number belongs is refused")?;
        let said = format!("{error} {error:?}");
        check!(
            !said.contains("hunter"),
            "{what} shows the value of an option: {said}"
        );
        check!(
            said.contains(ground.number_option),
            "{what} does not name the option that is no number: {said}"
        );
    }
    Ok(())
}

/// A parameter of the URL that means nothing is refused by its name.
pub async fn meta_004_an_unknown_parameter_is_refused_by_name(harness: &Harness<Opening>) -> Outcome {
    let ground = Ground::new(harness).await?;
    let mut section = ground.section.clone();
    section.url = section.url.with_param("max_conections", "3");
    for (what, refused) in ground.refusals(&section).await {
        let error = check_error!(
            refused,
            ErrorKind::InvalidConfig,
            "{what} of an unknown parameter"
        );
        check!(
            error.message().contains("max_conections"),
            "{what} does not name the unknown parameter: {error}"
        );
    }
    Ok(())
}

/// A scheme that nobody registered is refused, and the refusal lists those that are there.
pub async fn meta_005_an_unknown_scheme_is_refused_with_the_known_ones(
    harness: &Harness<Opening>,
) -> Outcome {
    let ground = Ground::new(harness).await?;
    let unknown = Section::new(BackendUrl::server("gopher", "localhost", 70));
    let known = format!("{}://", ground.section.url.scheme());
    for (what, refused) in ground.refusals(&unknown).await {
        let error = check_error!(refused, ErrorKind::InvalidConfig, "{what} of an unknown scheme");
        check!(
            error.message().contains("gopher") && error.message().contains(&known),
            "{what} does not say which scheme is unknown and that {known} is known: {error}"
        );
    }
    Ok(())
}

/// A password in the URL is in no output: not of the section, not of a refusal, not of what was opened.
pub async fn meta_006_no_password_is_shown(harness: &Harness<Opening>) -> Outcome {
    let ground = Ground::new(harness).await?;
    let mut section = ground.section.clone();
    section.url = section
        .url
        .with_credentials("ann", Secret::new("hunter2".to_owned()));
    let mut said = vec![format!("{section:?} {}", section.url)];
    for (_, refused) in ground.refusals(&section).await {
        said.extend(refused.err().map(|error| format!("{error} {error:?}")));
    }
    if let Ok(opened) = ground.open(&section).await {
        said.push(format!("{opened:?}"));
    }
    for output in said {
        check!(!output.contains("hunter2"), "a password is shown: {output}");
    }
    Ok(())
}
