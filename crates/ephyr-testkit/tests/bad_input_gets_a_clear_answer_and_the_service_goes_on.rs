//! Invalid requests get a clear error, and the broker keeps serving other clients.

use std::time::Duration;

use ephyr_testkit::http::Response;
use ephyr_testkit::{Result, VERSION, Value, World, json};

/// The headers of a valid tool call.
const HEADERS: [(&str, &str); 4] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", VERSION),
    ("mcp-method", "tools/call"),
];

fn post(world: &World, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    world.mcp_with_key("scout")?.post(headers, body)
}

/// Whether the body contains an error message, as JSON-RPC or as plain JSON.
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
fn body_over_the_limit_is_413() {
    let world = World::start().unwrap();
    let body = vec![b' '; (1 << 20) + 1];
    let response = post(&world, &HEADERS, &body).unwrap();
    assert_eq!(response.status, 413, "{}", response.text());
    assert!(explains(&response), "{}", response.text());
    assert_eq!(response.json().unwrap()["error"]["code"], -32600);
    assert!(still_serves(&world));
}

#[test]
fn body_that_is_not_json_rpc_is_400() {
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
fn other_content_type_is_415() {
    let world = World::start().unwrap();
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let headers = [&[("content-type", kind)], &HEADERS[1..]].concat();
        let response = post(&world, &headers, b"{}").unwrap();
        assert_eq!(response.status, 415, "{kind}: {}", response.text());
    }
    assert!(still_serves(&world));
}

#[test]
fn foreign_origin_is_403_and_configured_origin_is_served() {
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

/// A world that accepts requests of web pages from `ORIGIN`.
#[cfg(test)]
fn world_for_pages() -> World {
    World::builder()
        .broker_args(&["--mcp-origin", ORIGIN])
        .start()
        .unwrap()
}

#[cfg(test)]
const ORIGIN: &str = "https://console.example";

/// The headers of a `tools/list` request.
#[cfg(test)]
fn list_headers() -> Vec<(&'static str, &'static str)> {
    let mut headers = HEADERS.to_vec();
    headers[3] = ("mcp-method", "tools/list");
    headers
}

#[cfg(test)]
fn list_body() -> Vec<u8> {
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }}});
    list.to_string().into_bytes()
}

#[test]
fn browsers_may_call_only_from_configured_origins() {
    let world = world_for_pages();
    let tcp = world.tcp().unwrap();
    let preflight = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type,mcp-method,mcp-protocol-version",
            ),
        ];
        tcp.request("OPTIONS", "/mcp", &headers, b"").unwrap()
    };
    let good = preflight(ORIGIN);
    assert_eq!(good.status, 204, "{}", good.text());
    assert_eq!(good.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(good.header("access-control-allow-credentials"), None);
    assert_eq!(good.header("vary"), Some("Origin"));
    let allowed = good.header("access-control-allow-headers").unwrap();
    for name in [
        "authorization",
        "content-type",
        "mcp-method",
        "mcp-protocol-version",
    ] {
        assert!(allowed.split(", ").any(|known| known == name), "{allowed}");
    }
    let evil = preflight("https://evil.example");
    assert_eq!(evil.status, 403, "{}", evil.text());
    assert_eq!(evil.header("access-control-allow-origin"), None);

    // The page can read every response, refusals included.
    let body = list_body();
    let key = format!("Bearer {}", world.api_key("scout").unwrap());
    let long = (1 << 20) + 1;
    let ask = |path: &str, origin: &str, authorization: &str, length: usize| {
        let mut headers = list_headers();
        headers.push(("origin", origin));
        if !authorization.is_empty() {
            headers.push(("authorization", authorization));
        }
        let spaces = vec![b' '; length];
        let body = if length == 0 { &body } else { &spaces };
        tcp.request("POST", path, &headers, body).unwrap()
    };
    for (path, authorization, length, status) in [
        ("/mcp", key.as_str(), 0, 200),
        ("/mcp", "", 0, 401),
        ("/mcp", key.as_str(), long, 413),
        ("/nothing", key.as_str(), 0, 404),
        ("/register", "", 0, 404),
    ] {
        let answer = ask(path, ORIGIN, authorization, length);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let shown = answer.header("access-control-allow-origin");
        assert_eq!(shown, Some(ORIGIN), "{path}: {status}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{path}: {status}");
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("mcp-session-id"), "{exposed}");

        let evil = ask(path, "https://evil.example", authorization, 0);
        assert_eq!(evil.status, 403, "{path}: {}", evil.text());
        assert_eq!(evil.header("access-control-allow-origin"), None);
    }
    assert!(still_serves(&world));
}

#[test]
fn listener_origin_is_served_and_rebound_name_is_refused() {
    // As the scenario dns-rebinding-protection of the MCP conformance suite: the same name in both
    // headers.
    let world = World::start().unwrap();
    let tcp = world.tcp().unwrap();
    let ephyr_testkit::http::Endpoint::Tcp(address) = &tcp else {
        panic!("not TCP")
    };
    let key = format!("Bearer {}", world.api_key("scout").unwrap());
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "conformance-dns-rebinding-test", "version": "1.0.0"},
    }})
    .to_string();
    let from = |path: &str, host: &str, origin: &str| {
        let headers = [
            ("host", host),
            ("origin", origin),
            ("authorization", key.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        let (method, body) = match path {
            "/mcp" => ("POST", hello.as_bytes()),
            _ => ("GET", &b""[..]),
        };
        tcp.request(method, path, &headers, body).unwrap().status
    };
    let port = address.port();
    for path in ["/mcp", "/v1/whoami", "/v1/health"] {
        for name in ["127.0.0.1", "localhost"] {
            let host = format!("{name}:{port}");
            let own = from(path, &host, &format!("http://{host}"));
            assert_eq!(own, 200, "{path} {host}");
        }
        for (host, origin) in [
            ("evil.example.com", "http://evil.example.com"),
            ("evil.example.com", "http://localhost"),
            ("localhost", "http://evil.example.com"),
            ("localhost", "http://localhost:3000"),
        ] {
            assert_eq!(from(path, host, origin), 403, "{path} {host} {origin}");
        }
    }
}

#[test]
fn repeated_identity_or_routing_header_is_400() {
    let world = World::start().unwrap();
    let tcp = world.tcp().unwrap();
    let key = format!("Bearer {}", world.api_key("scout").unwrap());
    let wrong = "Bearer eph_scout_0000000000000000000000";
    let both = format!("{key}, {wrong}");
    let (key, both) = (
        ("authorization", key.as_str()),
        ("authorization", both.as_str()),
    );
    let wrong = ("authorization", wrong);
    let ask = |path: &str, more: &[(&str, &str)]| {
        let mut headers = list_headers();
        headers.extend(more);
        tcp.request("POST", path, &headers, &list_body()).unwrap()
    };
    let good = ask("/mcp", &[key]);
    assert_eq!(good.status, 200, "{}", good.text());
    let twice = |name, value| [key, (name, value), (name, value)];
    for (more, name) in [
        (&[key, wrong][..], "authorization"),
        (&[wrong, key], "authorization"),
        (&[both], "authorization"),
        (&twice("host", "localhost"), "host"),
        (&twice("ephyr-proof", "a"), "ephyr-proof"),
        (&twice("mcp-session-id", "a"), "mcp-session-id"),
    ] {
        for path in ["/mcp", "/v1/whoami"] {
            let refused = ask(path, more);
            assert_eq!(refused.status, 400, "{path} {name}: {}", refused.text());
            assert!(explains(&refused), "{}", refused.text());
            assert!(refused.text().contains(name), "{name}: {}", refused.text());
            assert!(!refused.text().contains("eph_"), "{}", refused.text());
        }
    }
}

#[test]
fn oauth_discovery_answers_404_and_names_the_api_key() {
    let world = World::start().unwrap();
    let tcp = world.tcp().unwrap();
    for (method, path) in [
        ("POST", "/register"),
        ("POST", "/token"),
        ("GET", "/authorize?client_id=x"),
        ("GET", "/.well-known/oauth-protected-resource/mcp"),
        ("GET", "/.well-known/oauth-authorization-server"),
    ] {
        let answer = tcp.request(method, path, &[], b"").unwrap();
        assert_eq!(answer.status, 404, "{path}");
        let error = answer.json().unwrap();
        assert!(error["error"].is_string(), "{path}: {error}");
        let remedy = error["error_description"].as_str().unwrap();
        assert!(remedy.contains("API key") && remedy.contains("Authorization: Bearer"));
    }
    let other = tcp.request("GET", "/nothing", &[], b"").unwrap();
    assert_eq!(other.json().unwrap()["code"], "not_found");
}

/// A connection after sending only the head of a request.
#[cfg(test)]
fn sent_head(world: &World, path: &str, more: &str) -> ephyr_testkit::http::Connection {
    let mut connection = world.tcp().unwrap().connect().unwrap();
    let key = world.api_key("scout").unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: {VERSION}\r\nmcp-method: tools/list\r\n{more}\r\n"
    );
    connection.send(head.as_bytes()).unwrap();
    connection
}

#[test]
fn excessive_content_length_is_413_before_any_body() {
    let world = World::start().unwrap();
    for expect in ["", "expect: 100-continue\r\n"] {
        let length = (1 << 20) + 1;
        let more = format!("{expect}content-length: {length}\r\n");
        let response = sent_head(&world, "/mcp", &more).read_response().unwrap();
        assert_eq!(response.status, 413, "{}", response.text());
        let error = response.json().unwrap();
        assert_eq!(error["jsonrpc"], "2.0", "{error}");
        assert_eq!(error["error"]["code"], -32600, "{error}");
        assert!(explains(&response), "{error}");
    }
    assert!(still_serves(&world));
}

#[test]
fn expect_continue_gets_100_or_the_final_status() {
    let world = World::start().unwrap();
    let body = list_body();
    let length = format!("content-length: {}\r\n", body.len());
    let mut connection = sent_head(&world, "/mcp", &format!("expect: 100-continue\r\n{length}"));
    assert_eq!(connection.read_line().unwrap(), "HTTP/1.1 100 Continue");
    assert_eq!(connection.read_line().unwrap(), "");
    connection.send(&body).unwrap();
    let response = connection.read_response().unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    for (path, expect, status) in [
        ("/mcp", "200-ok", 417),
        ("/v1/whoami", "100-continue, 200-ok", 417),
        ("/nothing", "100-continue", 404),
    ] {
        let more = format!("expect: {expect}\r\n{length}");
        let response = sent_head(&world, path, &more).read_response().unwrap();
        assert_eq!(response.status, status, "{path}: {}", response.text());
        assert!(explains(&response), "{}", response.text());
    }
    assert!(still_serves(&world));
}

#[test]
fn refused_body_is_drained_so_that_the_client_gets_the_response() {
    // Larger than the socket buffers: many clients do not read the response before they have sent the
    // whole request.
    let world = World::start().unwrap();
    let key = world.api_key("scout").unwrap();
    let body = vec![b' '; 8 << 20];
    for (authorization, status) in [
        ("Bearer nobody".to_owned(), 401),
        (format!("Bearer {key}"), 413),
    ] {
        let mut connection = world.tcp().unwrap().connect().unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {authorization}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.send(&[head.as_bytes(), &body].concat()).unwrap();
        let response = connection.read_response().unwrap();
        assert_eq!(response.status, status, "{}", response.text());
    }
    assert!(still_serves(&world));
}

#[test]
fn foreign_host_header_is_403_against_dns_rebinding() {
    let world = World::start().unwrap();
    let mut headers = HEADERS.to_vec();
    headers.push(("host", "broker.evil.example:8554"));
    let response = post(&world, &headers, b"{}").unwrap();
    assert_eq!(response.status, 403, "{}", response.text());
}

#[test]
fn unknown_tools_and_invalid_arguments_are_refused_by_name() {
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
fn stalled_clients_time_out_and_do_not_block_others() {
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
    // The last connection of each kind stands for the others.
    for at in [49, 99, 149] {
        assert!(
            slow[at].is_closed_by_peer(),
            "connection {at} is still open"
        );
    }
    assert!(still_serves(&world));
}

#[test]
fn incomplete_body_is_408() {
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
fn unknown_paths_are_404_and_wrong_methods_are_405() {
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
fn bytes_that_are_not_http_close_the_connection() {
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
