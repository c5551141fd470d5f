//! What is said where another server cannot be reached.

use std::error::Error;
use std::io;
use std::iter::successors;

/// Why, in the words of what failed first, such as `Connection refused (os error 111)`; never with the address.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    if error.is_builder() {
        return "this is no http:// or https:// address".into();
    }
    if error.is_timeout() {
        return "it does not answer in time".into();
    }
    let chain = || successors(error.source(), |error| within(*error));
    match (chain().find_map(<dyn Error>::downcast_ref), chain().last()) {
        (Some(rustls::Error::InvalidMessage(_)), _) => {
            "what answers there does not speak TLS: is it http://?".into()
        }
        (Some(error), _) => format!("TLS: {error}"),
        (None, Some(first)) => first.to_string(),
        (None, None) => "it cannot be reached".into(),
    }
}

/// What an error came of. One of input or output hides what it holds from [`Error::source`].
fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}
