//! What a trait and its methods must look like, and reading what `#[async_trait]` made of an async method.

use syn::spanned::Spanned;
use syn::{
    Error, FnArg, GenericArgument, GenericParam, ItemTrait, PathArguments, Result, ReturnType, Signature,
    TraitItem, TraitItemFn, Type, TypeParamBound,
};

/// Reports everything about the trait that a proxy cannot forward, all at once.
pub(crate) fn check_trait(item: &ItemTrait) -> Result<()> {
    let mut problems = Problems::default();
    for member in &item.items {
        match member {
            TraitItem::Fn(method) => check_method(item, method, &mut problems),
            TraitItem::Type(associated) if associated.generics.params.is_empty() => {}
            TraitItem::Type(associated) => problems.add(
                associated.generics.span(),
                "`#[intercept]` cannot forward an associated type with parameters; use a plain associated type or a concrete type",
            ),
            TraitItem::Const(constant) => problems.add(
                constant.ident.span(),
                "`#[intercept]` cannot forward an associated constant, and a trait with one cannot be `dyn`; write a method \
                 instead, for example `fn name(&self) -> &'static str`",
            ),
            other => problems.add(other.span(), "`#[intercept]` cannot forward this; write methods that take `&self`"),
        }
    }
    problems.into_result()
}

#[derive(Default)]
struct Problems(Option<Error>);

impl Problems {
    fn add(&mut self, span: proc_macro2::Span, message: impl std::fmt::Display) {
        let next = Error::new(span, message);
        match &mut self.0 {
            Some(error) => error.combine(next),
            none => *none = Some(next),
        }
    }

    fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

fn check_method(item: &ItemTrait, method: &TraitItemFn, problems: &mut Problems) {
    let signature = &method.sig;
    let name = &signature.ident;
    check_receiver(signature, problems);
    if let Some(parameter) = signature
        .generics
        .params
        .iter()
        .find(|parameter| !matches!(parameter, GenericParam::Lifetime(_)))
    {
        problems.add(
            parameter.span(),
            format!(
                "`{name}` has a type parameter, so `dyn {}` could not have it; move it to an extension trait that is implemented \
                 for every `T: {} + ?Sized`, or take `&dyn Trait` or bytes instead",
                item.ident, item.ident
            ),
        );
    }
    for argument in &signature.inputs {
        if let FnArg::Typed(argument) = argument
            && let Type::ImplTrait(_) = without_references(&argument.ty)
        {
            problems.add(
                argument.ty.span(),
                format!(
                    "`{name}` takes `impl Trait`, which is a type parameter; take `&dyn Trait`, a concrete type such as `&str`, or \
                     move it to an extension trait"
                ),
            );
        }
    }
    if signature.asyncness.is_some()
        && item
            .attrs
            .iter()
            .all(|attribute| !crate::options::is_async_trait(attribute))
    {
        problems.add(
            signature.asyncness.span(),
            format!(
                "`{name}` is async, so `{}` needs `#[async_trait]` to be usable as `dyn {}`; write it below `#[intercept(...)]`",
                item.ident, item.ident
            ),
        );
    }
}

fn check_receiver(signature: &Signature, problems: &mut Problems) {
    let name = &signature.ident;
    let Some(receiver) = signature.receiver() else {
        problems.add(
            name.span(),
            format!(
                "`{name}` does not take `&self`, so there is nothing to forward it to; add `&self`, or write it as a function \
                 outside the trait"
            ),
        );
        return;
    };
    if receiver.colon_token.is_none() && receiver.reference.is_some() && receiver.mutability.is_none() {
        return;
    }
    problems.add(
        receiver.span(),
        format!(
            "`{name}` must take `&self`: a proxy shares what it wraps, so it can neither consume nor mutate it; keep mutable \
             state inside the implementation"
        ),
    );
}

fn without_references(ty: &Type) -> &Type {
    match ty {
        Type::Reference(reference) => without_references(&reference.elem),
        Type::Paren(inner) => without_references(&inner.elem),
        other => other,
    }
}

/// How the proxy treats a method, as seen after `#[async_trait]` did its work.
pub(crate) enum Form<'a> {
    /// Not async: forwarded as it is.
    Plain,
    /// Async, with this output.
    Async {
        /// The output of the future: `Result<...>`, or an alias of it.
        output: &'a Type,
    },
}

/// Reads the form of a method whose `async` was already turned into a boxed future.
pub(crate) fn form(signature: &Signature) -> Result<Form<'_>> {
    let boxed = signature.generics.params.iter().any(
        |parameter| matches!(parameter, GenericParam::Lifetime(life) if life.lifetime.ident == "async_trait"),
    );
    if !boxed {
        return Ok(Form::Plain);
    }
    let future = returned_future(&signature.output).ok_or_else(|| {
        Error::new(
            signature.ident.span(),
            "`#[intercept]` does not recognise what `#[async_trait]` made of this method; use async-trait 0.1",
        )
    })?;
    let sendable = future.iter().any(|bound| is_named(bound, "Send"));
    if !sendable {
        return Err(Error::new(
            signature.ident.span(),
            "`#[intercept]` needs futures that are `Send`; write `#[async_trait]` without `(?Send)`",
        ));
    }
    let output = future.iter().find_map(future_output).ok_or_else(|| {
        Error::new(
            signature.ident.span(),
            "`#[intercept]` cannot find the output of this method's future",
        )
    })?;
    if matches!(output, Type::Tuple(tuple) if tuple.elems.is_empty()) {
        return Err(Error::new(
            signature.ident.span(),
            format!(
                "async method `{0}` must return a `Result`, since an interceptor may refuse the call; write `-> Result<()>`, or mark \
                 it `#[call(direct)]` to have it forwarded untouched",
                signature.ident
            ),
        ));
    }
    Ok(Form::Async { output })
}

type Bounds = syn::punctuated::Punctuated<TypeParamBound, syn::Token![+]>;

/// The bounds `Future<Output = R> + Send + 'async_trait` inside `Pin<Box<dyn ...>>`.
fn returned_future(output: &ReturnType) -> Option<&Bounds> {
    let ReturnType::Type(_, pinned) = output else {
        return None;
    };
    let boxed = only_argument(pinned, "Pin")?;
    match only_argument(boxed, "Box")? {
        Type::TraitObject(object) => Some(&object.bounds),
        _ => None,
    }
}

fn only_argument<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last()?;
    if segment.ident != name {
        return None;
    }
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => {
            arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })
        }
        _ => None,
    }
}

fn is_named(bound: &TypeParamBound, name: &str) -> bool {
    matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|last| last.ident == name))
}

fn future_output(bound: &TypeParamBound) -> Option<&Type> {
    let TypeParamBound::Trait(bound) = bound else {
        return None;
    };
    match &bound.path.segments.last()?.arguments {
        PathArguments::AngleBracketed(arguments) => {
            arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::AssocType(assigned) if assigned.ident == "Output" => Some(&assigned.ty),
                _ => None,
            })
        }
        _ => None,
    }
}

/// Whether this argument is a `&str`, and so may be the subject of the call.
pub(crate) fn is_str_reference(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else {
        return false;
    };
    reference.mutability.is_none()
        && matches!(&*reference.elem, Type::Path(path) if path.qself.is_none() && path.path.is_ident("str"))
}
