//! Writing the implementation of a trait for `Proxy<T>`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{
    Attribute, Error, FnArg, GenericParam, Ident, Item, ItemTrait, Pat, Path, Result, Signature, TraitItem,
    TraitItemFn, Type, parse_quote,
};

use crate::options::{CallOptions, TraitOptions, is_async_trait, is_call};
use crate::signature::{Form, check_trait, form, is_str_reference};

/// The whole expansion: what the user wrote, and the proxy; or what the user wrote, and the errors.
pub(crate) fn expand(arguments: TokenStream, item: Item) -> TokenStream {
    let Item::Trait(item) = item else {
        let error = Error::new(
            item_keyword(&item),
            "`#[intercept]` goes on a trait: it implements that trait for `Proxy<T>`; move it to the trait's definition",
        )
        .into_compile_error();
        return quote!(#error #item);
    };
    match expand_trait(&arguments, &item) {
        Ok(tokens) => tokens,
        Err(error) => {
            let error = error.into_compile_error();
            let item = without_helpers(&item);
            quote!(#error #item)
        }
    }
}

fn expand_trait(arguments: &TokenStream, item: &ItemTrait) -> Result<TokenStream> {
    let options = TraitOptions::parse(arguments.clone())?;
    check_trait(item)?;
    for member in &item.items {
        if let TraitItem::Fn(method) = member {
            CallOptions::parse(&method.attrs)?;
        }
    }
    if item
        .items
        .iter()
        .any(|member| matches!(member, TraitItem::Fn(method) if method.sig.asyncness.is_some()))
    {
        return Ok(after_async_trait(arguments, &options, item));
    }
    let proxy = proxy_impl(&options, item)?;
    let item = without_helpers(item);
    Ok(quote!(#item #proxy))
}

/// Puts `#[async_trait]` in front, so that this macro runs again on the signatures that it produces.
///
/// Working from those signatures, rather than from a copy of async-trait's own rules about lifetimes, is what makes
/// the proxy fit whatever the trait says.
fn after_async_trait(arguments: &TokenStream, options: &TraitOptions, item: &ItemTrait) -> TokenStream {
    let mut item = item.clone();
    let (first, rest): (Vec<Attribute>, Vec<Attribute>) = item.attrs.into_iter().partition(is_async_trait);
    item.attrs = rest;
    let core = &options.core;
    quote! {
        #(#first)*
        #[#core::intercept(#arguments)]
        #item
    }
}

fn proxy_impl(options: &TraitOptions, item: &ItemTrait) -> Result<TokenStream> {
    let core = &options.core;
    let name = &item.ident;
    let inner = format_ident!("__T");
    let (_, type_generics, _) = item.generics.split_for_impl();
    let contract = quote!(#name #type_generics);

    let mut generics = item.generics.clone();
    generics.params.push(parse_quote! {
        #inner: #contract + ?::core::marker::Sized + ::core::marker::Send + ::core::marker::Sync + 'static
    });
    // Defaults of type parameters belong to the trait alone.
    for parameter in &mut generics.params {
        match parameter {
            GenericParam::Type(parameter) => parameter.default = None,
            GenericParam::Const(parameter) => parameter.default = None,
            GenericParam::Lifetime(_) => {}
        }
    }
    let (impl_generics, _, where_clause) = generics.split_for_impl();

    let mut members = Vec::new();
    let mut problems: Option<Error> = None;
    for member in &item.items {
        let written = match member {
            TraitItem::Fn(method) => {
                Method::read(options, method).map(|method| method.write(&contract, &inner))
            }
            TraitItem::Type(associated) => {
                let ident = &associated.ident;
                Ok(quote!(type #ident = <#inner as #contract>::#ident;))
            }
            _ => continue,
        };
        match (written, &mut problems) {
            (Ok(tokens), _) => members.push(tokens),
            (Err(error), Some(problems)) => problems.combine(error),
            (Err(error), none) => *none = Some(error),
        }
    }
    if let Some(problems) = problems {
        return Err(problems);
    }
    let cfgs = item
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"));
    Ok(quote! {
        #(#cfgs)*
        #[automatically_derived]
        #[allow(clippy::all, clippy::pedantic, deprecated, unused_qualifications, single_use_lifetimes)]
        impl #impl_generics #contract for #core::intercept::Proxy<#inner> #where_clause {
            #(#members)*
        }
    })
}

/// One method of the trait, ready to be written for the proxy.
struct Method<'a> {
    core: &'a Path,
    component: &'a str,
    options: CallOptions,
    attributes: Vec<&'a Attribute>,
    signature: Signature,
    arguments: Vec<Argument>,
    output: Option<Type>,
}

struct Argument {
    name: Ident,
    ty: Type,
}

impl<'a> Method<'a> {
    fn read(options: &'a TraitOptions, method: &'a TraitItemFn) -> Result<Self> {
        let call = CallOptions::parse(&method.attrs)?;
        let output = match (call.direct, form(&method.sig)) {
            (true, _) | (false, Ok(Form::Plain)) => None,
            (false, Ok(Form::Async { output })) => Some(output.clone()),
            (false, Err(error)) => return Err(error),
        };
        let mut signature = method.sig.clone();
        let arguments = rename_arguments(&mut signature);
        Ok(Self {
            core: &options.core,
            component: &options.component,
            options: call,
            attributes: method
                .attrs
                .iter()
                .filter(|attribute| attribute.path().is_ident("cfg"))
                .collect(),
            signature,
            arguments,
            output,
        })
    }

    fn write(&self, contract: &TokenStream, inner: &Ident) -> TokenStream {
        let core = self.core;
        let attributes = &self.attributes;
        let signature = &self.signature;
        let name = &signature.ident;
        let arguments = self.arguments.iter().map(|argument| &argument.name);
        let forward = quote!(<#inner as #contract>::#name(__inner #(, #arguments)*));
        let body = match &self.output {
            None => forward,
            Some(output) => self.intercepted(output, &forward),
        };
        quote! {
            #(#attributes)*
            #[inline]
            #signature {
                let __inner = #core::intercept::Proxy::inner(self);
                #body
            }
        }
    }

    /// The body of an async method: one branch, then either the inner future as it is, or the driver around it.
    fn intercepted(&self, output: &Type, forward: &TokenStream) -> TokenStream {
        let core = self.core;
        let support = quote!(#core::intercept::support);
        let method = self.descriptor();
        let names: Vec<_> = self.arguments.iter().map(|argument| &argument.name).collect();
        let subject = match self
            .arguments
            .iter()
            .find(|argument| is_str_reference(&argument.ty))
        {
            Some(Argument { name, .. }) => quote!(::core::option::Option::Some(#name)),
            None => quote!(::core::option::Option::None),
        };
        let (checks, next) = if self.options.once {
            (quote!(), quote!(take()))
        } else {
            // With the type written out, so that what is wrong with it is reported where it stands.
            let checks = self
                .arguments
                .iter()
                .map(|Argument { name, ty }| quote!(#support::repeatable::<#ty>(&#name);));
            (quote!(#(#checks)*), quote!(next(__keep)))
        };
        quote! {
            static __METHOD: #core::intercept::Method = #method;
            let ::core::option::Option::Some(__stack) = #core::intercept::Proxy::interceptors(self) else {
                return #forward;
            };
            #checks
            let __call = #core::intercept::Call::new(&__METHOD, #core::intercept::Proxy::label(self), #subject);
            let mut __arguments = #support::Arguments::new((#(#names,)*));
            ::std::boxed::Box::pin(#support::drive::<#output, _>(__stack, __call, move |__keep| {
                let (#(#names,)*) = __arguments.#next?;
                ::core::option::Option::Some(#forward)
            }))
        }
    }

    fn descriptor(&self) -> TokenStream {
        let core = self.core;
        let name = self.signature.ident.to_string();
        let name = name.trim_start_matches("r#");
        let component = self.component;
        let label = format!("{component}.{name}");
        let mut method = quote!(#core::intercept::Method::new(#component, #name, #label));
        for (set, option) in [
            (self.options.idempotent, quote!(idempotent)),
            (self.options.waits, quote!(waiting)),
            (self.options.once, quote!(once)),
        ] {
            if set {
                method = quote!(#method.#option());
            }
        }
        method
    }
}

/// Gives every argument a name of our own, whatever pattern stands in the trait.
fn rename_arguments(signature: &mut Signature) -> Vec<Argument> {
    let mut arguments = Vec::new();
    for (index, argument) in signature.inputs.iter_mut().enumerate() {
        if let FnArg::Typed(argument) = argument {
            let name = format_ident!("__argument{index}");
            *argument.pat = Pat::Ident(syn::PatIdent {
                attrs: Vec::new(),
                by_ref: None,
                mutability: None,
                ident: name.clone(),
                subpat: None,
            });
            arguments.push(Argument {
                name,
                ty: (*argument.ty).clone(),
            });
        }
    }
    arguments
}

/// The trait without the `#[call(...)]` attributes, which the compiler does not know.
fn without_helpers(item: &ItemTrait) -> ItemTrait {
    let mut item = item.clone();
    for member in &mut item.items {
        if let TraitItem::Fn(method) = member {
            method.attrs.retain(|attribute| !is_call(attribute));
        }
    }
    item
}

fn item_keyword(item: &Item) -> Span {
    let mut tokens = match item {
        Item::Impl(item) => item.impl_token.to_token_stream(),
        Item::Struct(item) => item.ident.to_token_stream(),
        Item::Enum(item) => item.ident.to_token_stream(),
        Item::Fn(item) => item.sig.ident.to_token_stream(),
        other => other.to_token_stream(),
    }
    .into_iter();
    tokens.next().map_or_else(Span::call_site, |token| token.span())
}
