//! A credential may be of any length, and of any bytes: it gets an answer, or a clear word at the start, and
//! nothing repeats it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use ephyr_testkit::http::{Endpoint, Response};
use ephyr_testkit::{ApiKey, World, json};

/// What no message of the programs has in it by itself.
const MARK: &str = "Qx7Zp";

/// Bearers that are nobody's: each length from nothing on, as such and behind the words that credentials begin with.
#[cfg(test)]
fn bearers() -> Vec<String> {
    let short = (0..=MARK.len()).map(|length| MARK[..length].to_owned());
    // What is cut after so many bytes would be cut within a character here.
    let wide = ["\u{e9}", "a\u{20ac}", "ab\u{1f980}", "\u{1f980}\u{1f980}"].map(str::to_owned);
    let stubs: Vec<String> = short.chain(wide).collect();
    let mut all = stubs.clone();
    for prefix in ["eph", "eph_", "eph_scout", "eph_scout_", "mac", "mac_"] {
        all.extend(stubs.iter().map(|stub| format!("{prefix}{stub}")));
    }
    all
}

/// One request with this header's value, or with this session token, on a connection of its own.
#[cfg(test)]
fn ask(way: &Endpoint, path: &str, header: (&str, &str)) -> Response {
    let (method, body): (_, &[u8]) = match path {
        "/mcp" => ("POST", b"{}"),
        _ => ("GET", b""),
    };
    let headers = [header, ("content-type", "application/json")];
    way.request(method, path, &headers, body).unwrap()
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

/// A part of a secret that is long enough to be told from other words.
#[cfg(test)]
fn shows_any_part(text: &str) -> bool {
    (0..=MARK.len() - 3).any(|from| text.contains(&MARK[from..from + 3]))
        || text.contains('\u{20ac}')
        || text.contains('\u{1f980}')
}

#[test]
fn w30_a_credential_of_any_length_gets_an_answer_and_the_broker_lives_on() {
    let mut world = World::start().unwrap();
    let ways = [
        (world.tcp().unwrap(), "/mcp"),
        (world.unix("builder").unwrap(), "/mcp"),
        (world.unix("builder").unwrap(), "/v1/whoami"),
    ];
    thread::scope(|scope| {
        for bearer in bearers() {
            for (way, path) in &ways {
                let value = format!("Bearer {bearer}");
                // Whoever guesses waits; the guesses need not wait for each other.
                scope.spawn(move || {
                    let response = ask(way, path, ("authorization", &value));
                    let text = response.text();
                    let refused = matches!(response.status, 400 | 401 | 403 | 429);
                    assert!(refused, "{value:?} {path}: {} {text}", response.status);
                    assert!(explains(&response), "{value:?}: {text}");
                    assert!(!shows_any_part(&text), "{value:?}: {text}");
                });
            }
        }
        let (way, path) = &ways[2];
        for token in bearers() {
            scope.spawn(move || {
                let response = ask(way, path, ("x-session-token", &token));
                let text = response.text();
                assert_eq!(response.status, 401, "{token:?}: {text}");
                assert!(text.contains("session_invalid"), "{token:?}: {text}");
                assert!(explains(&response) && !shows_any_part(&text), "{text}");
            });
        }
    });
    let own = ask(&ways[2].0, ways[2].1, ("accept", "*/*"));
    assert_eq!(
        own.status,
        200,
        "without a token it is served: {}",
        own.text()
    );
    // The twin: it is the same process, and who has a good credential is served.
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
fn w30_a_credential_file_of_any_length_is_a_clear_error_at_the_start_or_a_good_hash() {
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
        let said = world.start_broker().unwrap_err().to_string();
        let shown = String::from_utf8_lossy(&content);
        assert!(said.contains("agents.scout"), "{shown:?}: {said}");
        assert!(said.contains("of_scout"), "{shown:?}: {said}");
        assert!(!said.contains("panicked"), "{shown:?}: {said}");
        assert!(!shows_any_part(&said), "{said}");
        // What is no hash may be the key itself, put there by mistake.
        assert!(!said.contains(&hash[7..20]), "{said}");
    }
    write(format!("{hash}\n").as_bytes());
    world.start_broker().unwrap();
}
