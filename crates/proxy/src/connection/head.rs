//! The request's head as the upstream gets it.

use weir_http1::{
    ConnectionOption, FieldName, FieldSet, FieldTable, HeadWriter, KnownField, RequestHead, WriteError,
};

use super::marks::{X_WEIR_CALLER, caller};
use super::way::HeadView;
use super::{Connection, Marks, Target};
use crate::filter::{Applied, Scheme, copy_request};
use crate::listen::Role;

const X_FORWARDED_FOR: FieldName<'static> = FieldName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: FieldName<'static> = FieldName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: FieldName<'static> = FieldName::from_static("x-forwarded-host");
const TE: FieldName<'static> = FieldName::from_static("te");
const CONNECTION: FieldName<'static> = FieldName::from_static("connection");

impl Connection {
    /// How the client's requests come, for what depends on it.
    pub(super) fn scheme(&self) -> Scheme {
        if self.secure.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// The service whose request this is, as far as anybody says: on the way out of a sidecar its own, where one arrives the
    /// one that it names. At a gateway nobody is believed.
    pub(super) fn caller<'a>(&'a self, head: &RequestHead, buf: &'a [u8]) -> &'a [u8] {
        match self.listener.role {
            Role::Gateway => b"",
            Role::Inbound => caller(head, buf),
            Role::Outbound => self.worker.shared.app.as_ref().map_or(b"", |app| app.label.as_bytes()),
        }
    }

    /// Writes the head for the upstream, as the rule's filters want it, and notes its fields if there is a table.
    #[inline]
    pub(super) fn write_head(
        &self,
        (out, table): (&mut Vec<u8>, Option<&mut FieldTable>),
        seen: &HeadView<'_>,
        marks: &mut Marks,
        (target, filtered): (&Target, Option<&Applied>),
    ) -> Result<(), WriteError> {
        let HeadView { head, buf, path, .. } = *seen;
        let host = head.host(buf).unwrap_or_default();
        let (method, query) = (head.method_bytes(buf), head.query(buf));
        let mut writer = match filtered {
            None => {
                let mut writer = HeadWriter::request(out, method, path, query)?.noting(table);
                writer.host(host)?;
                writer
            }
            Some(applied) => applied.begin_request((out, table), method, path, query, host)?,
        };
        let change = filtered.and_then(Applied::request);
        // What a filter sets or removes is not written here.
        let ours = |name: FieldName<'_>| change.is_none_or(|change| !change.drops(name.as_bytes()));
        match self.listener.role {
            // The trust boundary: what a client says about where it comes from is not believed.
            Role::Gateway => {
                copy_request(
                    &mut writer,
                    change,
                    buf,
                    head.fields(),
                    FieldSet::FORWARDING.union(marks.replaced),
                );
                if ours(X_FORWARDED_FOR) {
                    writer.field(X_FORWARDED_FOR, self.peer.text())?;
                }
                if ours(X_FORWARDED_PROTO) {
                    writer.field(X_FORWARDED_PROTO, self.scheme().as_str().as_bytes())?;
                }
                if !host.is_empty() && ours(X_FORWARDED_HOST) {
                    writer.field(X_FORWARDED_HOST, host)?;
                }
            }
            // Behind it the chain is kept, and grows by who called.
            Role::Inbound => {
                writer.copy(buf, head.fields(), marks.replaced);
                writer.field(X_FORWARDED_FOR, self.peer.text())?;
                if !head.fields().seen().has(KnownField::XForwardedProto) {
                    writer.field(X_FORWARDED_PROTO, self.scheme().as_str().as_bytes())?;
                }
            }
            Role::Outbound => {
                copy_request(&mut writer, change, buf, head.fields(), marks.replaced);
                // Nobody outside the mesh needs to know.
                if matches!(target, Target::Upstream(_)) {
                    writer.field(X_WEIR_CALLER, self.caller(head, buf))?;
                }
            }
        }
        marks.write(head, buf, &mut writer, ours)?;
        if let Some(change) = change {
            writer.lines(change.lines());
        }
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
