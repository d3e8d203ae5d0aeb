//! Nothing that a client sends stops the broker from serving the next one.

use std::time::Duration;

use ephyr_testkit::http::Response;
use ephyr_testkit::{Result, VERSION, Value, World, json};

/// The headers of a good call.
const HEADERS: [(&str, &str); 4] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", VERSION),
    ("mcp-method", "tools/call"),
];

fn post(world: &World, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    world.mcp_with_key("scout")?.post(headers, body)
}

/// A message for people is in the body, whatever its form.
fn explains(response: &Response) -> bool {
    let Ok(value) = response.json() else {
        return false;
    };
    let message = [&value["error"], &value["error"]["message"]];
    message
        .iter()
        .any(|text| text.as_str().is_some_and(|text| text.len() > 5))
}

fn still_serves(world: &World) -> bool {
    let answer = world
        .mcp_with_key("scout")
        .and_then(|mut scout| scout.tool("list_targets", json!({})));
    answer.is_ok_and(|answer| !answer.is_error)
}

#[test]
fn a_body_over_the_limit_is_413() {
    let world = World::start().unwrap();
    let body = vec![b' '; (1 << 20) + 1];
    let response = post(&world, &HEADERS, &body).unwrap();
    assert_eq!(response.status, 413, "{}", response.text());
    assert!(explains(&response), "{}", response.text());
    assert!(still_serves(&world));
}

#[test]
fn bodies_that_are_no_message_are_400() {
    let world = World::start().unwrap();
    let deep = "[".repeat(100_000);
    let deep_call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"exec","arguments":{}1{}}}}}"#,
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    for body in [
        "",
        "{",
        "null",
        "42",
        "\"x\"",
        "{}",
        "\u{0}",
        deep.as_str(),
        deep_call.as_str(),
    ] {
        let response = post(&world, &HEADERS, body.as_bytes()).unwrap();
        let shown: String = body.chars().take(40).collect();
        assert_eq!(response.status, 400, "{shown:?}: {}", response.text());
        assert!(explains(&response), "{shown:?}: {}", response.text());
    }
    assert!(still_serves(&world));
}

#[test]
fn another_content_type_is_415() {
    let world = World::start().unwrap();
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let headers = [&[("content-type", kind)], &HEADERS[1..]].concat();
        let response = post(&world, &headers, b"{}").unwrap();
        assert_eq!(response.status, 415, "{kind}: {}", response.text());
    }
    assert!(still_serves(&world));
}

#[test]
fn a_foreign_origin_is_403_and_a_configured_one_is_not() {
    let world = World::builder()
        .broker_args(&["--mcp-origin", "http://localhost:3000"])
        .start()
        .unwrap();
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }}})
    .to_string();
    let with = |origin| {
        let mut headers = HEADERS.to_vec();
        headers[3] = ("mcp-method", "tools/list");
        headers.push(("origin", origin));
        post(&world, &headers, list.as_bytes()).unwrap()
    };
    for origin in [
        "https://evil.example",
        "http://localhost.evil.example",
        "null",
        "http://192.0.2.1",
        "http://localhost:3001",
    ] {
        let response = with(origin);
        assert_eq!(response.status, 403, "{origin}: {}", response.text());
    }
    let response = with("http://localhost:3000");
    assert_eq!(response.status, 200, "{}", response.text());
}

#[test]
fn a_foreign_host_is_refused_so_that_no_name_can_be_rebound_to_the_broker() {
    let world = World::start().unwrap();
    let mut headers = HEADERS.to_vec();
    headers.push(("host", "broker.evil.example:8554"));
    let response = post(&world, &headers, b"{}").unwrap();
    assert_eq!(response.status, 403, "{}", response.text());
}

#[test]
fn tools_and_arguments_that_there_are_not_are_refused_with_their_names() {
    let world = World::start().unwrap();
    let mut scout = world.mcp_with_key("scout").unwrap();
    let unknown = scout.call("exce", json!({})).unwrap();
    assert_eq!(unknown.code(), Some(-32602), "{unknown:?}");
    assert!(unknown.message().contains("exce"), "{unknown:?}");
    let good = json!({"target": "web", "role": "read", "command": "true"});
    for (change, value, word) in [
        ("sudo", json!(true), "sudo"),
        ("timeout", json!("30"), "timeout"),
        ("timeout", json!(301), "timeout"),
        ("timeout", json!(0.5), "timeout"),
        ("command", json!(""), "command"),
        ("command", json!(["a"]), "command"),
        ("command", Value::Null, "command"),
        ("target", json!("a b"), "target"),
    ] {
        let mut arguments = good.clone();
        arguments[change] = value.clone();
        let answer = scout.call("exec", arguments).unwrap();
        let text = answer
            .error
            .clone()
            .or(answer.result.clone())
            .unwrap()
            .to_string();
        let refused = answer.error.is_some() || answer.result.unwrap()["isError"] == true;
        assert!(refused && text.contains(word), "{change} = {value}: {text}");
    }
    let mut missing = good.clone();
    missing.as_object_mut().unwrap().remove("role");
    let missing = scout.tool("exec", missing).unwrap();
    assert!(
        missing.is_error && missing.text.contains("role"),
        "{}",
        missing.text
    );
    assert!(!scout.tool("exec", good).unwrap().is_error);
}

#[test]
fn a_client_that_stops_in_the_middle_is_let_go_and_harms_nobody() {
    let world = World::start().unwrap();
    let endpoint = world.tcp().unwrap();
    let mut slow = Vec::new();
    for start in [
        "",
        "POST /mcp HT",
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\n",
    ] {
        for _ in 0..50 {
            let mut connection = endpoint.connect().unwrap();
            connection.send(start.as_bytes()).unwrap();
            connection
                .set_read_timeout(Duration::from_secs(45))
                .unwrap();
            slow.push(connection);
        }
    }
    assert!(still_serves(&world));
    // The last of each kind stands for the others.
    for at in [49, 99, 149] {
        assert!(
            slow[at].is_closed_by_peer(),
            "connection {at} is still open"
        );
    }
    assert!(still_serves(&world));
}

#[test]
fn a_body_that_never_ends_is_given_up() {
    let world = World::start().unwrap();
    let mut connection = world.tcp().unwrap().connect().unwrap();
    let key = world.api_key("scout").unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         content-length: 1000\r\n\r\n{{"
    );
    connection.send(head.as_bytes()).unwrap();
    connection
        .set_read_timeout(Duration::from_secs(45))
        .unwrap();
    let response = connection.read_response().unwrap();
    assert_eq!(response.status, 408, "{}", response.text());
    assert!(still_serves(&world));
}

#[test]
fn paths_and_methods_that_there_are_not_are_404_and_405() {
    let world = World::start().unwrap();
    let socket = world.unix("builder").unwrap();
    let status = |method: &str, path: &str| socket.request(method, path, &[], b"").unwrap().status;
    assert_eq!(status("GET", "/v1/nothing"), 404);
    assert_eq!(status("GET", "/../etc/passwd"), 404);
    assert_eq!(status("DELETE", "/v1/targets"), 405);
    assert_eq!(status("GET", "/mcp"), 405);
    assert_eq!(status("GET", "/v1/targets"), 200);
}

#[test]
fn bytes_that_are_no_http_close_the_connection() {
    let world = World::start().unwrap();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"SSH-2.0-x\r\n\r\n",
        &[0xff; 64],
    ] {
        let mut connection = world.tcp().unwrap().connect().unwrap();
        connection.send(garbage).unwrap();
        connection.finish_sending().unwrap();
        connection
            .set_read_timeout(Duration::from_secs(45))
            .unwrap();
        assert!(connection.is_closed_by_peer());
    }
    assert!(still_serves(&world));
}
