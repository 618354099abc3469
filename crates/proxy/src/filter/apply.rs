//! Filters at work on the heads of one exchange: written straight into the head, so that nothing is allocated.

use std::sync::Arc;

use weir_http1::{FieldSet, FieldTable, HeadWriter, WriteError};

use super::cors::is_cors_field;
use super::{CorsAnswer, Filters, HeaderChange};

/// Filters, and what of the request they need to know later.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) filters: Arc<Filters>,
    /// How many bytes of the path are the prefix that matched, without a slash at its end.
    pub(crate) prefix: usize,
    /// What the request's origin is told.
    pub(crate) cors: CorsAnswer,
}

impl Applied {
    /// Begins the request for the service: its line and `Host`. What is written may be noted.
    pub(crate) fn begin_request<'o>(
        &self,
        (out, table): (&'o mut Vec<u8>, Option<&'o mut FieldTable>),
        method: &[u8],
        path: &[u8],
        query: &[u8],
        host: &[u8],
    ) -> Result<HeadWriter<'o>, WriteError> {
        let writer = match &self.filters.path {
            Some(change) => HeadWriter::request_under(out, method, change.parts(path, self.prefix), query)?,
            None => HeadWriter::request(out, method, path, query)?,
        };
        let mut writer = writer.noting(table);
        writer.host(self.filters.host.as_deref().map_or(host, str::as_bytes))?;
        Ok(writer)
    }

    /// The change of the request's fields.
    pub(crate) fn request(&self) -> Option<&HeaderChange> {
        self.filters.request.as_ref()
    }

    /// Whether a field of the upstream's response is passed on.
    pub(crate) fn keeps(&self, name: &[u8]) -> bool {
        let Filters { response, cors, .. } = &*self.filters;
        let dropped = response.as_ref().is_some_and(|change| change.drops(name));
        let is_ours = cors.is_some() && is_cors_field(name);
        !dropped && !is_ours
    }

    /// Writes the fields of the upstream's response, as the client gets them.
    pub(crate) fn copy_response(
        &self,
        writer: &mut HeadWriter<'_>,
        buf: &[u8],
        fields: &FieldTable,
        origin: &[u8],
    ) -> Result<(), WriteError> {
        let Filters { response, cors, .. } = &*self.filters;
        match (response, cors) {
            (None, None) => {
                writer.copy(buf, fields, FieldSet::NONE);
            }
            _ => {
                writer.copy_where(buf, fields, FieldSet::NONE, |name, _| self.keeps(name));
            }
        }
        if let Some(cors) = cors {
            let mut written = Ok(());
            cors.fields(self.cors, origin, &mut |name, value| {
                if let Err(fault) = writer.field(name, value) {
                    written = Err(fault);
                }
            });
            written?;
        }
        if let Some(change) = response {
            writer.lines(change.lines());
        }
        Ok(())
    }

    /// The lines that go with an answer of the proxy itself.
    pub(crate) fn answer_lines(&self, origin: &[u8], out: &mut Vec<u8>) {
        if let Some(cors) = &self.filters.cors {
            cors.fields(self.cors, origin, &mut |name, value| line(out, name.as_bytes(), value));
        }
        if let Some(change) = &self.filters.response {
            out.extend_from_slice(change.answer_lines().as_bytes());
        }
    }
}

/// Appends a line of parts that were checked.
pub(crate) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Copies the fields of a request, without those that a change drops.
#[inline]
pub(crate) fn copy_request(
    writer: &mut HeadWriter<'_>,
    change: Option<&HeaderChange>,
    buf: &[u8],
    fields: &FieldTable,
    skip: FieldSet,
) {
    match change {
        None => writer.copy(buf, fields, skip),
        Some(change) => writer.copy_where(buf, fields, skip, |name, _| !change.drops(name)),
    };
}
