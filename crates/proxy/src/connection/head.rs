//! The request's head as the upstream gets it.

use weir_http1::{ConnectionOption, FieldName, FieldSet, HeadWriter, KnownField, WriteError};

use super::way::HeadView;
use super::{Connection, Marks};
use crate::listen::Role;

const X_FORWARDED_FOR: FieldName<'static> = FieldName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: FieldName<'static> = FieldName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: FieldName<'static> = FieldName::from_static("x-forwarded-host");
const TE: FieldName<'static> = FieldName::from_static("te");
const CONNECTION: FieldName<'static> = FieldName::from_static("connection");

impl Connection {
    fn scheme(&self) -> &'static [u8] {
        if self.secure.is_some() { b"https" } else { b"http" }
    }

    /// Writes the head for the upstream.
    #[inline]
    pub(super) fn write_head(
        &self,
        out: &mut Vec<u8>,
        seen: &HeadView<'_>,
        marks: &Marks,
    ) -> Result<(), WriteError> {
        let HeadView { head, buf, path, .. } = *seen;
        let mut writer = HeadWriter::request(out, head.method_bytes(buf), path, head.query(buf))?;
        let host = head.host(buf).unwrap_or_default();
        writer.host(host)?;
        match self.listener.role {
            // The trust boundary: what a client says about where it comes from is not believed.
            Role::Gateway => {
                writer.copy(buf, head.fields(), FieldSet::FORWARDING.union(marks.replaced));
                writer.field(X_FORWARDED_FOR, self.peer.text())?;
                writer.field(X_FORWARDED_PROTO, self.scheme())?;
                if !host.is_empty() {
                    writer.field(X_FORWARDED_HOST, host)?;
                }
            }
            // Behind it the chain is kept, and grows by who called.
            Role::Inbound => {
                writer.copy(buf, head.fields(), marks.replaced);
                writer.field(X_FORWARDED_FOR, self.peer.text())?;
                if !head.fields().seen().has(KnownField::XForwardedProto) {
                    writer.field(X_FORWARDED_PROTO, self.scheme())?;
                }
            }
            Role::Outbound => {
                writer.copy(buf, head.fields(), marks.replaced);
            }
        }
        marks.write(head, buf, &mut writer)?;
        if let Some(protocol) = head.upgrade(buf) {
            writer.connection(ConnectionOption::Upgrade(protocol))?;
        } else if head.te_trailers() {
            writer.field(TE, b"trailers")?;
            writer.field(CONNECTION, b"te")?;
        }
        writer.framing(head.body());
        writer.finish();
        Ok(())
    }
}
