//! Credentials of any length and content get a clear error, in a response or at the start, and no
//! message or log repeats them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use ephyr_testkit::http::{Endpoint, Response};
use ephyr_testkit::{ApiKey, World, json};

/// A text that no message of the programs contains.
const MARK: &str = "Qx7Zp";

/// Invalid bearer credentials: all lengths from zero, plain and after each prefix of a credential.
#[cfg(test)]
fn bearers() -> Vec<String> {
    let short = (0..=MARK.len()).map(|length| MARK[..length].to_owned());
    // Multi-byte characters at the offsets where code might slice: slicing inside one would panic.
    let wide = ["\u{e9}", "a\u{20ac}", "ab\u{1f980}", "\u{1f980}\u{1f980}"].map(str::to_owned);
    let stubs: Vec<String> = short.chain(wide).collect();
    let mut all = stubs.clone();
    for prefix in ["eph", "eph_", "eph_scout", "eph_scout_", "mac", "mac_"] {
        all.extend(stubs.iter().map(|stub| format!("{prefix}{stub}")));
    }
    all
}

/// Sends one request with this header on a new connection.
#[cfg(test)]
fn ask(endpoint: &Endpoint, path: &str, header: (&str, &str)) -> Response {
    let (method, body): (_, &[u8]) = match path {
        "/mcp" => ("POST", b"{}"),
        _ => ("GET", b""),
    };
    let headers = [header, ("content-type", "application/json")];
    endpoint.request(method, path, &headers, body).unwrap()
}

#[cfg(test)]
fn explains(response: &Response) -> bool {
    let Ok(value) = response.json() else {
        return false;
    };
    let texts = [&value["error"], &value["error"]["message"]];
    texts
        .iter()
        .any(|text| text.as_str().is_some_and(|text| text.len() > 5))
}

/// Whether the text contains any three characters of `MARK`, or one of the wide characters.
#[cfg(test)]
fn shows_any_part(text: &str) -> bool {
    (0..=MARK.len() - 3).any(|from| text.contains(&MARK[from..from + 3]))
        || text.contains('\u{20ac}')
        || text.contains('\u{1f980}')
}

#[test]
fn w30_credential_of_any_length_gets_a_clear_refusal() {
    let mut world = World::start().unwrap();
    let routes = [
        (world.tcp().unwrap(), "/mcp"),
        (world.unix("builder").unwrap(), "/mcp"),
        (world.unix("builder").unwrap(), "/v1/whoami"),
    ];
    thread::scope(|scope| {
        for bearer in bearers() {
            for (endpoint, path) in &routes {
                let value = format!("Bearer {bearer}");
                // The broker delays failed authentications: send them concurrently.
                scope.spawn(move || {
                    let response = ask(endpoint, path, ("authorization", &value));
                    let text = response.text();
                    let refused = matches!(response.status, 400 | 401 | 403 | 429);
                    assert!(refused, "{value:?} {path}: {} {text}", response.status);
                    assert!(explains(&response), "{value:?}: {text}");
                    assert!(!shows_any_part(&text), "{value:?}: {text}");
                });
            }
        }
        let (endpoint, path) = &routes[2];
        for token in bearers() {
            scope.spawn(move || {
                let response = ask(endpoint, path, ("x-session-token", &token));
                let text = response.text();
                assert_eq!(response.status, 401, "{token:?}: {text}");
                assert!(text.contains("session_invalid"), "{token:?}: {text}");
                assert!(explains(&response) && !shows_any_part(&text), "{text}");
            });
        }
    });
    let own = ask(&routes[2].0, routes[2].1, ("accept", "*/*"));
    assert_eq!(
        own.status,
        200,
        "a request without a token is served: {}",
        own.text()
    );
    // The same process still serves a valid credential.
    let mut scout = world.mcp_with_key("scout").unwrap();
    let answer = scout.tool("list_targets", json!({})).unwrap();
    assert!(!answer.is_error, "{}", answer.text);
    let broker = world.broker().unwrap();
    assert!(broker.poll().unwrap().is_none());
    assert!(!shows_any_part(&broker.log()), "{}", broker.log());
    let audit = fs::read_to_string(world.audit_log()).unwrap();
    assert!(!shows_any_part(&audit), "{audit}");
}

#[test]
fn w30_invalid_credential_file_is_a_clear_startup_error() {
    let edit = |policy: &mut ephyr_testkit::Value, _: &ephyr_testkit::Accounts| {
        let scout = &mut policy["agents"]["scout"];
        scout.as_object_mut().unwrap().remove("api_key_hash");
        scout["api_key_hash_credential"] = json!("of_scout");
    };
    let mut world = World::builder().edit(edit).prepare().unwrap();
    world.start_signer().unwrap();
    let file = world.dir().join("credentials/of_scout");
    let write = |content: &[u8]| {
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    };
    let hash = ApiKey::generate("scout").unwrap().hash;
    let bytes = hash.as_bytes();
    let mut contents: Vec<Vec<u8>> = (0..=5).map(|length| bytes[..length].to_vec()).collect();
    contents.extend([
        b"\n".to_vec(),
        b"\0\0\0\0".to_vec(),
        vec![0xff, 0xfe, 0xfd],
        MARK.as_bytes().to_vec(),
        "\u{1f980}".as_bytes().to_vec(),
        bytes[..bytes.len() - 1].to_vec(),
        [bytes, b"x"].concat(),
        [bytes, b"\n", bytes].concat(),
    ]);
    for content in contents {
        write(&content);
        let error = world.start_broker().unwrap_err().to_string();
        let shown = String::from_utf8_lossy(&content);
        assert!(error.contains("agents.scout"), "{shown:?}: {error}");
        assert!(error.contains("of_scout"), "{shown:?}: {error}");
        assert!(!error.contains("panicked"), "{shown:?}: {error}");
        assert!(!shows_any_part(&error), "{error}");
        // A file without a hash may contain the API key by mistake.
        assert!(!error.contains(&hash[7..20]), "{error}");
    }
    write(format!("{hash}\n").as_bytes());
    world.start_broker().unwrap();
}
