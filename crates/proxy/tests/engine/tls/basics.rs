//! Handshakes and requests.

use super::{Authority, secure_documents};
use crate::support::{Proxy, Upstream};

#[test]
fn requests_go_through_on_a_kept_connection() {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway(&secure_documents(&authority, &[("", &["app"])], &[upstream.addr]));
    let mut client = authority.trusting().connect(proxy.addr(), "app").unwrap();
    for i in 0..5 {
        let response = client.get(&format!("/{i}"));
        assert_eq!(response.status, 200, "{response:?}");
        let text = response.text().to_ascii_lowercase();
        assert!(text.contains("\r\nx-forwarded-proto: https\r\n"), "{text}");
    }
    assert_eq!(upstream.connections(), 1);
}
