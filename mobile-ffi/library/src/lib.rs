//! mobile-ffi as a C library.

endcap_mobile::uniffi_reexport_scaffolding!();
