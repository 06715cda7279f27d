//! The options written in `#[intercept(...)]` and `#[call(...)]`.

use proc_macro2::{Span, TokenStream};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Ident, LitStr, Path, Result, Token, parse_quote};

const COMPONENT_FORM: &str = "write `#[intercept(component = \"cache\")]`: the name under which calls of this trait \
                              appear in metrics, traces and errors";

/// What is written in `#[intercept(...)]`.
pub(crate) struct TraitOptions {
    pub(crate) component: String,
    /// Where infra-core is found.
    pub(crate) core: Path,
}

impl TraitOptions {
    pub(crate) fn parse(arguments: TokenStream) -> Result<Self> {
        let given = Punctuated::<TraitOption, Token![,]>::parse_terminated.parse2(arguments)?;
        let mut component = None;
        let mut core = None;
        for option in given {
            match option {
                TraitOption::Component(name) if component.is_none() => component = Some(name),
                TraitOption::Core(path) if core.is_none() => core = Some(path),
                TraitOption::Component(name) => {
                    return Err(Error::new(name.span(), "`component` is given twice; keep one"));
                }
                TraitOption::Core(path) => {
                    return Err(Error::new(path.span(), "`crate` is given twice; keep one"));
                }
            }
        }
        let component = component.ok_or_else(|| Error::new(Span::call_site(), COMPONENT_FORM))?;
        check_component(&component)?;
        Ok(Self {
            component: component.value(),
            core: core.unwrap_or_else(|| parse_quote!(::infra_core)),
        })
    }
}

fn check_component(name: &LitStr) -> Result<()> {
    let value = name.value();
    let plain = value.starts_with(|c: char| c.is_ascii_lowercase())
        && value
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain {
        return Ok(());
    }
    Err(Error::new(
        name.span(),
        "a component's name is a metric label: write it in `lower_snake_case`, as in `component = \"rate_limit\"`",
    ))
}

enum TraitOption {
    Component(LitStr),
    Core(Path),
}

impl Parse for TraitOption {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(Token![crate]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            return Ok(Self::Core(input.parse()?));
        }
        if input.peek(LitStr) {
            return Err(input.error(COMPONENT_FORM));
        }
        let name: Ident = input.parse()?;
        if name != "component" {
            return Err(Error::new(
                name.span(),
                format!(
                    "unknown option `{name}`; `#[intercept(...)]` knows `component = \"name\"` and `crate = path`"
                ),
            ));
        }
        input.parse::<Token![=]>()?;
        Ok(Self::Component(input.parse()?))
    }
}

/// What is written in `#[call(...)]` on a method.
#[derive(Default)]
pub(crate) struct CallOptions {
    pub(crate) idempotent: bool,
    pub(crate) waits: bool,
    pub(crate) once: bool,
    pub(crate) direct: bool,
}

impl CallOptions {
    /// Reads every `#[call(...)]` among `attributes`.
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        for attribute in attributes.iter().filter(|attribute| is_call(attribute)) {
            let names = attribute
                .parse_args_with(Punctuated::<Ident, Token![,]>::parse_terminated)
                .map_err(|error| Error::new(error.span(), format!("{error}; {CALL_FORM}")))?;
            if names.is_empty() {
                return Err(Error::new(
                    attribute.span(),
                    format!("`#[call]` is empty; {CALL_FORM}"),
                ));
            }
            for name in &names {
                options.set(name)?;
            }
            options.check(attribute.span())?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &Ident) -> Result<()> {
        match name.to_string().as_str() {
            "idempotent" => self.idempotent = true,
            "waits" => self.waits = true,
            "once" => self.once = true,
            "direct" => self.direct = true,
            other => {
                return Err(Error::new(
                    name.span(),
                    format!("unknown option `{other}`; {CALL_FORM}"),
                ));
            }
        }
        Ok(())
    }

    fn check(&self, span: Span) -> Result<()> {
        if self.direct && (self.idempotent || self.waits || self.once) {
            return Err(Error::new(
                span,
                "a `direct` method is seen by no interceptor, so the other options mean nothing; keep `#[call(direct)]` alone",
            ));
        }
        if self.idempotent && self.once {
            return Err(Error::new(
                span,
                "`idempotent` says that the call may be repeated, `once` that it may not; keep one of them",
            ));
        }
        Ok(())
    }
}

const CALL_FORM: &str = "write `#[call(idempotent)]`, `#[call(waits)]`, `#[call(once)]`, `#[call(direct)]`, or several: `#[call(idempotent, waits)]`";

/// Whether this is the helper attribute `#[call(...)]`, which the macro consumes.
pub(crate) fn is_call(attribute: &Attribute) -> bool {
    attribute.path().is_ident("call")
}

/// Whether this is `#[async_trait]`, under whatever path.
pub(crate) fn is_async_trait(attribute: &Attribute) -> bool {
    attribute
        .path()
        .segments
        .last()
        .is_some_and(|segment| segment.ident == "async_trait")
}
