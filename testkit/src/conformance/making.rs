//! Components that are no backends but are made of configuration: how a maker of them becomes a subject.

/// Makes each trait a [`Subject`](super::Subject) that no stack stands in front of and that has nothing to declare or to end.
macro_rules! makers {
    ($($maker:ident),+ $(,)?) => {
        $(#[infra_core::async_trait]
        impl $crate::conformance::Subject for dyn $maker {
            fn behind(_: &infra_core::intercept::Stack, maker: std::sync::Arc<Self>) -> std::sync::Arc<Self> {
                maker
            }

            fn declared(&self) -> Option<&infra_core::capability::Capabilities> {
                None
            }

            async fn close(&self, _: std::time::Duration) -> infra_core::Result<()> {
                Ok(())
            }
        })+
    };
}

pub(super) use makers;
