//! Directories of credentials for TLS, looked at before anything runs.

use std::path::Path;

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use tapferry_tls::{Credentials, Side};

use crate::error::Failure;
use crate::promise::{Work, promise};
use crate::statistics::number;

/// A file of certificates.
#[napi(object, object_from_js = false)]
pub struct CertificateFile {
    /// Its path.
    pub file: String,
    /// When the first of its certificates expires: as RFC 3339 has it.
    pub not_after: String,
    /// The same in milliseconds since 1970.
    pub not_after_ms: f64,
}

/// Reads and checks what a server or a client would use; the first to expire comes first.
#[napi(catch_unwind, ts_return_type = "Promise<Array<CertificateFile>>")]
pub fn inspect_credentials(directory: String, server: bool) -> AsyncTask<Work<Vec<CertificateFile>>> {
    promise(move || {
        let side = if server { Side::Server } else { Side::Client };
        let credentials = Credentials::open(Path::new(&directory), side)
            .map_err(|error| Failure::new(error.code(), &error, &error.hint()))?;
        let files = credentials.expiries().into_iter().map(|expiry| CertificateFile {
            file: expiry.file.display().to_string(),
            not_after: expiry.at.to_string(),
            not_after_ms: number(expiry.at.0.saturating_mul(1000)),
        });
        Ok(files.collect())
    })
}
