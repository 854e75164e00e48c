//! What operators see and do: health and administration.

use serde_json::json;

use crate::{
    http_client::{create, get, request},
    server::{Server, document},
};

#[tokio::test]
async fn health_says_what_is_wrong_on_both_listeners() {
    let server = Server::start().await;
    for address in [server.address, server.admin_address] {
        assert_eq!(get(address, "/healthz").await.json(), json!({"status": "ok"}));
        assert_eq!(get(address, "/readyz").await.status, 200);
    }
    server.health.register("log", || Err("disk full".to_owned()));
    for address in [server.address, server.admin_address] {
        let answer = get(address, "/healthz").await;
        assert_eq!(answer.status, 503);
        let reasons = json!([{"component": "log", "reason": "disk full"}]);
        assert_eq!(answer.json(), json!({"status": "degraded", "reasons": reasons}));
    }
}

#[tokio::test]
async fn operators_see_and_do_what_only_they_may() {
    let server = Server::start().await;
    let admin = server.admin_address;
    let partitions = get(admin, "/v1/admin/partitions").await.json();
    assert_eq!(partitions["partitions"][0]["committed"], 12);
    let resume = request(admin, "POST", "/v1/admin/resume", &[], b"").await;
    assert_eq!(resume.status, 500);
    assert_eq!(resume.json()["detail"], "the disk is still full");
    let verify = request(admin, "POST", "/v1/admin/verify", &[], b"").await;
    assert_eq!((verify.status, &verify.json()["ok"]), (200, &json!(true)));
    let id = create(&server, "{}").await;
    let quarantine = get(admin, "/v1/admin/quarantine").await.json();
    assert_eq!(quarantine["documents"][0]["documentId"], id);
    assert_eq!(quarantine["documents"][0]["reason"], "poison");
    let release = |id: String| async move {
        let path = format!("/v1/admin/quarantine/{id}/release");
        request(admin, "POST", &path, &[], b"").await.status
    };
    assert_eq!(release(id).await, 200);
    assert_eq!(release(document(9).to_string()).await, 404);
    let metrics = get(admin, "/metrics").await;
    let text = String::from_utf8(metrics.body).unwrap();
    let line = "http_requests_total{method=\"POST\",route=\"/v1/documents\",status=\"201\"} 1";
    assert!(text.contains(line), "{text}");
    assert_eq!(get(admin, "/v1/documents").await.status, 404);
}
