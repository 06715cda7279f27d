//! How a family's list of scenarios becomes a table for programs and tests for a backend, so that it is written once.

/// The table of a family: a slice of scenarios.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_table {
    (($family:ident) () { $($module:ident { $($name:ident $($strict:ident)?),* $(,)? })* }) => {
        &[$($($crate::__conformance_scenario!($family $module $name $($strict)?)),*),*]
    };
}

/// One scenario by its path.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_scenario {
    ($family:ident $module:ident $name:ident) => {
        $crate::__conformance_scenario!(@new $family $module $name true)
    };
    ($family:ident $module:ident $name:ident strict) => {
        $crate::__conformance_scenario!(@new $family $module $name false)
    };
    (@new $family:ident $module:ident $name:ident $eventual:literal) => {
        $crate::conformance::Scenario::new(::core::stringify!($name), $eventual, |harness| {
            ::std::boxed::Box::pin($crate::conformance::$family::$module::$name(harness))
        })
    };
}

/// The tests of a family for a backend: directly, or in every mode.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (($family:ident) ($make:path $(,)?) $list:tt) => {
        mod $family {
            #[allow(unused_imports, reason = "the constructor's path may start at the crate's root")]
            use super::*;
            $crate::__conformance_mode!($family $make, bare Bare $list);
        }
    };
    (($family:ident) ($make:path, every_mode $(,)?) $list:tt) => {
        mod $family {
            #[allow(unused_imports, reason = "the constructor's path may start at the crate's root")]
            use super::*;
            $crate::__conformance_mode!($family $make, bare Bare $list);
            $crate::__conformance_mode!($family $make, behind_trace BehindTrace $list);
            $crate::__conformance_mode!($family $make, behind_metrics BehindMetrics $list);
            $crate::__conformance_mode!($family $make, behind_log BehindLog $list);
            $crate::__conformance_mode!($family $make, behind_concurrency_limit BehindConcurrencyLimit $list);
            $crate::__conformance_mode!($family $make, behind_breaker BehindBreaker $list);
            $crate::__conformance_mode!($family $make, behind_retry BehindRetry $list);
            $crate::__conformance_mode!($family $make, behind_timeout BehindTimeout $list);
            $crate::__conformance_mode!($family $make, behind_recorder BehindRecorder $list);
            $crate::__conformance_mode!($family $make, behind_faults BehindFaults $list);
            $crate::__conformance_mode!($family $make, behind_standard_stack BehindStandardStack $list);
            $crate::__conformance_faulty!($family $make, $list);
        }
    };
    (($family:ident) ($make:path, bare_and_standard_stack $(,)?) $list:tt) => {
        mod $family {
            #[allow(unused_imports, reason = "the constructor's path may start at the crate's root")]
            use super::*;
            $crate::__conformance_mode!($family $make, bare Bare $list);
            $crate::__conformance_mode!($family $make, behind_standard_stack BehindStandardStack $list);
        }
    };
}

/// The tests of a family in one mode.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_mode {
    ($family:ident $make:path, $label:ident $mode:ident {
        $($module:ident { $($name:ident $($strict:ident)?),* $(,)? })*
    }) => {
        mod $label {
            #[allow(unused_imports, reason = "the constructor's path may start at the crate's root")]
            use super::*;
            $($(
                #[test]
                fn $name() {
                    let scenario = $crate::__conformance_scenario!($family $module $name $($strict)?);
                    $crate::conformance::test(&scenario, $crate::conformance::Mode::$mode, $make);
                }
            )*)*
        }
    };
}

/// The tests of a family with faults inside the standard stack: those that are not strict, and the proof that faults were met.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_faulty {
    ($family:ident $make:path, { $($module:ident { $($name:ident $($strict:ident)?),* $(,)? })* }) => {
        mod with_faults {
            #[allow(unused_imports, reason = "the constructor's path may start at the crate's root")]
            use super::*;
            $($($crate::__conformance_eventual!($family $make, $module $name $($strict)?);)*)*

            #[test]
            fn faults_were_met_and_calls_repeated() {
                $crate::conformance::test_retries($crate::conformance::$family::SCENARIOS, $make);
            }
        }
    };
}

/// One test with faults, unless the scenario is strict.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_eventual {
    ($family:ident $make:path, $module:ident $name:ident strict) => {};
    ($family:ident $make:path, $module:ident $name:ident) => {
        #[test]
        fn $name() {
            let scenario = $crate::__conformance_scenario!($family $module $name);
            $crate::conformance::test(&scenario, $crate::conformance::Mode::WithFaults, $make);
        }
    };
}
