//! What a reader of a chain wants to be otherwise than entries say: the body of `POST discovery-chain/:service`.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher as _};

use serde_json::{Value, json};
use weir_model::resource::Protocol;

use super::entries::protocol;
use crate::consul::decode::{self, Fields};
use crate::consul::duration::to_go;
use crate::consul::options::check_datacenter;
use crate::consul::refusal::Refusal;
use crate::http::Request;

/// What a chain is to be instead.
#[derive(Debug, Default, Hash)]
pub(super) struct Overrides {
    /// What the service is taken to speak.
    pub(super) protocol: Option<Protocol>,
    /// How long connecting takes at most, as it is shown.
    pub(super) connect_timeout: Option<String>,
    /// The mode that is shown of all targets. There are no mesh gateways, so it can only be `none`.
    mesh_gateway: Option<String>,
}

impl Overrides {
    /// What a request asks for.
    pub(super) fn of(request: &Request, datacenter: &str) -> Result<Self, Refusal> {
        check_datacenter(request.query.get("compile-dc").unwrap_or_default(), datacenter)?;
        if request.body.is_empty() {
            return Ok(Self::default());
        }
        let map = decode::object(&request.body)?;
        let fields = Fields::root(&map);
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        let said = filled(fields.text("OverrideProtocol")?);
        let known = protocol(said.clone().map(Value::from).as_ref());
        if known.is_none() && said.is_some() {
            return Ok(fields.wrong("OverrideProtocol", "expected tcp, http, http2 or grpc")?);
        }
        let connect_timeout = fields.span(&["OverrideConnectTimeout"])?.map(|span| to_go(span.0));
        let mode = match fields.map("OverrideMeshGateway")? {
            Some(map) => filled(Fields::at(map, "OverrideMeshGateway").text("Mode")?),
            None => None,
        };
        match mode.as_deref() {
            None | Some("none") => Ok(Self { protocol: known, connect_timeout, mesh_gateway: mode }),
            Some("local" | "remote") => {
                Err(Refusal::bad("OverrideMeshGateway.Mode: there are no mesh gateways, expected none"))
            }
            Some(_) => Err(Refusal::bad("Invalid OverrideMeshGateway.Mode parameter")),
        }
    }

    /// What is shown as the setting of a target.
    pub(super) fn mesh_gateway(&self) -> Value {
        self.mesh_gateway.as_ref().map_or_else(|| json!({}), |mode| json!({"Mode": mode}))
    }

    /// Eight digits that are others for other overrides.
    pub(super) fn hash(&self) -> String {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        format!("{:016x}", hasher.finish())[..8].to_owned()
    }
}
