//! `uniffi-bindgen LIBRARY LANGUAGE FOLDER`; see `mobile-ffi/bindings.sh`.

use std::path::Path;
use std::process::ExitCode;

use mobile_ffi_bindgen::{Language, generate};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.as_slice() {
        [library, language, folder] => match Language::from_name(language) {
            Some(language) => generate(Path::new(library), language, Path::new(folder)),
            None => Err(format!("`{language}` is not python, kotlin or swift")),
        },
        _ => Err("uniffi-bindgen LIBRARY LANGUAGE FOLDER".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
