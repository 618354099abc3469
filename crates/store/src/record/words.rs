//! Words that documents often hold, in the order in which they hold them. A hint that makes records short, and nothing more:
//! any text can be folded.

/// The words.
pub(super) const WORDS: &[u8] = concat!(
    r#"{"name":"","id":"","address":"192.168.","tagged_addresses":{"lan":"172.16.","wan":"10.0.0."},"metadata":{}"#,
    r#","kind":{"script":{"args":["/bin/sh","-c","curl "#,
    r#","kind":{"h2_ping":{"address":"127.0.0.1:"#,
    r#","kind":{"alias":{"node":"","instance":"#,
    r#","kind":{"grpc":{"address":"127.0.0.1:","service":""#,
    r#","kind":{"tcp":{"address":"127.0.0.1:"}}"#,
    r#","kind":{"http":{"url":"http://127.0.0.1:8080/health","method":"GET","headers":{},"body":""}}"#,
    r#","kind":{"http":{"url":"https://"#,
    r#"TTL expired: no heartbeat within connection refused HTTP GET http://: 200 OK Output: "#,
    r#"production staging region zone protocol environment team owner weight grpc http version":"v"#,
    r#"{"namespace":"default","node":"","id":"service:","name":"Service ' check","instance":"#,
    r#","service":"","health":"critical","output":"","#,
    r#","service":"","health":"warning","output":"","#,
    r#","service":"","health":"passing","output":"","notes":"","definition":{"kind":"ttl""#,
    r#","interval":"10s","timeout":"1s","successes_before_passing":0,"failures_before_critical":0"#,
    r#","failures_before_warning":0,"deregister_after":"1m"},"runner":"agent"}"#,
    r#"{"namespace":"default","node":"","id":"","service":"","address":"10.0.0.","port":8080"#,
    r#","inbound":{"host":"10.0.0.","port":15001},"tags":["","http","grpc","v1"]"#,
    r#","metadata":{"version":"1.0"},"tagged_addresses":{"lan_ipv4":{"host":"10.0.0.","port":80"#,
    r#"},"wan_ipv4":{"host":"10.0.0.","port":80"#,
    r#"}},"weights":{"passing":1,"warning":1},"enable_tag_override":false}"#,
)
.as_bytes();
