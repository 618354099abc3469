//! Documents that several tests apply.

/// A gateway named `edge` on this port of 127.0.0.1 that sends everything to one service.
pub fn gateway(port: u16, service: &str) -> String {
    format!(
        "kind: Gateway
metadata: {{name: edge}}
spec:
  addresses: [{{value: 127.0.0.1}}]
  listeners: [{{name: http, port: {port}, protocol: HTTP}}]
---
kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{name: {service}}}]}}]
"
    )
}

/// A service with these ports of 127.0.0.1 as its endpoints.
pub fn service(name: &str, ports: &[u16]) -> String {
    let endpoints: Vec<String> =
        ports.iter().map(|port| format!("{{address: 127.0.0.1, port: {port}}}")).collect();
    format!(
        "---\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{endpoints: [{}]}}\n",
        endpoints.join(", ")
    )
}
