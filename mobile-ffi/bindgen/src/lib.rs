//! The bindings of `libendcap`, as UniFFI generates them.
//!
//! A package of its own, so that neither the library nor the server carries the generator. It goes without
//! UniFFI's command line, which asks Cargo where each crate lies: there is one crate, whose settings are in
//! `mobile-ffi/uniffi.toml`.

use std::path::Path;

use uniffi_bindgen::bindings::{GenerateOptions, TargetLanguage, generate as generate_all};

/// A language that there are bindings for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `endcap_mobile.py`
    Python,
    /// `app/endcap/endcap_mobile.kt`
    Kotlin,
    /// `Endcap.swift`, with a C header and its module map
    Swift,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 3] = [Self::Python, Self::Kotlin, Self::Swift];

    /// By its name in lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "python" => Some(Self::Python),
            "kotlin" => Some(Self::Kotlin),
            "swift" => Some(Self::Swift),
            _ => None,
        }
    }
}

/// Writes the bindings of the built `library` into `folder`, made if it is absent; an error is in words.
pub fn generate(library: &Path, language: Language, folder: &Path) -> Result<(), String> {
    let utf8 = |path: &Path| {
        let text = path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))?;
        Ok::<_, String>(text.into())
    };
    let options = GenerateOptions {
        languages: vec![match language {
            Language::Python => TargetLanguage::Python,
            Language::Kotlin => TargetLanguage::Kotlin,
            Language::Swift => TargetLanguage::Swift,
        }],
        source: utf8(library)?,
        out_dir: utf8(folder)?,
        config_override: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/../uniffi.toml").into()),
        ..GenerateOptions::default()
    };
    generate_all(options).map_err(|error| format!("{error:#}"))
}
