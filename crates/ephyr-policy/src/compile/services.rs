//! Sections `services` and `remotes`.

use std::collections::BTreeMap;

use ephyr_names::{RemoteName, ServiceName, Ttl};

use super::view::View;
use crate::diagnostic::{Findings, Place};
use crate::model::{Auth, Remote, Service};

pub(super) fn compile_services(
    root: &View<'_>,
    findings: &mut Findings,
) -> BTreeMap<ServiceName, Service> {
    let mut services = BTreeMap::new();
    let mut prefixes = BTreeMap::new();
    for (key, view) in root.map("services") {
        check_url(&view, "url_prefix", &mut prefixes, findings);
        let auth = auth(&view, findings);
        let (Ok(name), Some(url), Some(auth)) = (
            key.name.parse::<ServiceName>(),
            view.text("url_prefix"),
            auth,
        ) else {
            continue;
        };
        let service = Service {
            name: name.clone(),
            url_prefix: url.to_owned(),
            auth,
            allowed_paths: view
                .texts("allowed_paths")
                .map(|(_, text)| text.to_owned())
                .collect(),
            allowed_methods: view
                .texts("allowed_methods")
                .filter_map(|(_, text)| text.parse().ok())
                .collect(),
            max_response_kb: view.int("max_response_kb").unwrap_or(1024),
            timeout: view.ttl("timeout").unwrap_or(Ttl::from_secs(30)),
            description: view.text("description").unwrap_or_default().to_owned(),
            enabled: view.bool("enabled").unwrap_or(true),
        };
        services.insert(name, service);
    }
    services
}

pub(super) fn compile_remotes(
    root: &View<'_>,
    findings: &mut Findings,
) -> BTreeMap<RemoteName, Remote> {
    let mut remotes = BTreeMap::new();
    let mut urls = BTreeMap::new();
    for (key, view) in root.map("remotes") {
        check_url(&view, "url", &mut urls, findings);
        let auth = auth(&view, findings);
        let (Ok(name), Some(url), Some(auth)) =
            (key.name.parse::<RemoteName>(), view.text("url"), auth)
        else {
            continue;
        };
        let remote = Remote {
            name: name.clone(),
            url: url.to_owned(),
            auth,
            max_response_kb: view.int("max_response_kb").unwrap_or(1024),
            timeout: view.ttl("timeout").unwrap_or(Ttl::from_secs(30)),
            refresh: view.ttl("refresh").unwrap_or(Ttl::from_secs(60)),
            description: view.text("description").unwrap_or_default().to_owned(),
            enabled: view.bool("enabled").unwrap_or(true),
        };
        remotes.insert(name, remote);
    }
    remotes
}

/// Reports a URL that another upstream of the section has, and a credential that would travel unencrypted.
fn check_url(
    view: &View<'_>,
    key: &'static str,
    seen: &mut BTreeMap<String, (Place, String)>,
    findings: &mut Findings,
) {
    let Some(url) = view.text(key) else {
        return;
    };
    let normal = normal(url);
    if let Some((at, other)) = seen.get(&normal) {
        let message = format!("the same URL as {other} ({}); remove one", at.line_text());
        findings.add("E-DUPLICATE-URL", view.at(key), view.path(key), message);
    } else {
        seen.insert(normal, (view.at(key), view.own_path().to_owned()));
    }
    if view.has("credential") && url.starts_with("http://") && !is_loopback(url) {
        let message = "the credential travels unencrypted; use https://";
        findings.add("W-PLAINTEXT", view.at(key), view.path(key), message);
    }
}

/// Returns the URL with a lowercase host, without default port and trailing slash.
fn normal(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let default = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default).unwrap_or(authority);
    format!(
        "{scheme}://{}{}",
        authority.to_ascii_lowercase(),
        path.trim_end_matches('/')
    )
}

fn is_loopback(url: &str) -> bool {
    let host = url.trim_start_matches("http://");
    ["127.0.0.1", "[::1]", "localhost"].iter().any(|loopback| {
        host.strip_prefix(loopback)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}

fn auth(view: &View<'_>, findings: &mut Findings) -> Option<Auth> {
    let kind = match view.text("auth_type") {
        Some(kind) => kind,
        None if view.has("auth_type") => return None,
        None if view.has("credential") => "bearer",
        None => "none",
    };
    check_auth_keys(view, kind, findings);
    if kind == "none" {
        return Some(Auth::None);
    }
    let credential = view.text("credential")?.to_owned();
    match kind {
        "bearer" => Some(Auth::Bearer { credential }),
        "basic" => Some(Auth::Basic {
            username: view.text("username")?.to_owned(),
            credential,
        }),
        "header" => Some(Auth::Header {
            header: view.text("token_header")?.to_owned(),
            credential,
        }),
        _ => Some(Auth::Query {
            parameter: view.text("query_parameter").unwrap_or("token").to_owned(),
            credential,
        }),
    }
}

/// Reports keys that the `auth_type` requires and that are missing, and keys that it does not use.
fn check_auth_keys(view: &View<'_>, kind: &str, findings: &mut Findings) {
    let rows: [(&'static str, &[&str], bool); 4] = [
        ("credential", &["bearer", "basic", "header", "query"], true),
        ("username", &["basic"], true),
        ("token_header", &["header"], true),
        ("query_parameter", &["query"], false),
    ];
    for (key, kinds, needed) in rows {
        let belongs = kinds.contains(&kind);
        if belongs && needed && !view.has(key) {
            let message = format!("auth_type {kind} requires `{key}`");
            findings.add("E-AUTH-KEY-MISSING", view.here(), view.path(key), message);
        } else if !belongs && view.has(key) {
            let message = format!(
                "`{key}` is for auth_type {}, but auth_type is {kind}; remove the key or change auth_type",
                kinds.join(", ")
            );
            findings.add("E-AUTH-KEY-UNUSED", view.at(key), view.path(key), message);
        }
    }
}
