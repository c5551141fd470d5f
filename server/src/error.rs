//! What a caller over HTTP is told when something is not done: an RFC 9457 problem.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::ingest::ActError;
use crate::store::StoreError;

/// A problem detail (RFC 9457). `code` is stable and is what programs act on; it ends the `type` URN.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

fn status_number<S: serde::Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem of this status, stable code and title.
    pub fn new(status: StatusCode, code: &str, title: &'static str) -> Self {
        let kind = format!("urn:endcap:problem:{code}");
        Self { kind, title, status, detail: String::new(), retry_after_s: None }
    }

    /// Says what exactly is wrong and what to do.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Says after how many seconds another try makes sense.
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }

    /// What happened, in a few words.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// What exactly is wrong and what to do; empty where the title says it all.
    pub fn explanation(&self) -> &str {
        &self.detail
    }

    /// Title and detail as one sentence.
    pub fn sentence(&self) -> String {
        match self.detail.as_str() {
            "" => self.title.to_owned(),
            detail => format!("{}: {detail}", self.title),
        }
    }

    /// The body does not read as what was expected.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read").detail(detail)
    }

    /// Who asks is not known.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Sign in or enrol first")
    }

    /// Who asks is known and may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed").detail(detail)
    }

    /// There is no such thing, or none that the caller may see.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing here")
    }

    /// A value breaks a rule that the sender can keep.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This cannot be taken")
            .detail(detail)
    }

    /// The device is not trusted any more.
    pub fn revoked() -> Self {
        Self::new(StatusCode::FORBIDDEN, "revoked", "This device's access was withdrawn")
            .detail("unsent work stays on the device; ask a supervisor to enrol it again")
    }

    /// The server's own fault; the log says more.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed")
    }

    /// Too much of something.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is too large")
            .detail(detail)
    }

    /// The organisation's photos have no room for more.
    pub fn quota_full() -> Self {
        let title = "The organisation's room for photos is used up";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "quota_full", title)
            .detail("nothing is lost: keep the photo; an admin can make room")
            .retry_after(3_600)
    }

    /// Too much is asked at once, and of what.
    pub fn busy(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy: try again")
            .detail(detail)
            .retry_after(2)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                "The server's disk is full: nothing was written",
            )
            .retry_after(60),
            StoreError::Closed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "The server is stopping: try again",
            )
            .retry_after(5),
            StoreError::Busy => Self::busy("this organisation has too much in progress at once"),
            error => {
                tracing::error!(%error, "store");
                Self::internal()
            }
        }
    }
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Refused(refusal) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.code(), "This cannot be done")
                    .detail(refusal.to_string())
            }
            ActError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self); // for who draws it as a page, and for the request log
        response
    }
}
