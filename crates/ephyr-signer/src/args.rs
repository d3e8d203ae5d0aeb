//! The command line. Every option has an environment variable.

use std::ffi::OsString;
use std::path::PathBuf;

/// The text of `--help`.
pub const HELP: &str = "\
Signs SSH certificates for the broker, by its own policy. Serves one Unix socket, no network.

Usage: ephyr-signer --broker-user NAME|UID [OPTIONS]
       ephyr-signer --check --broker-user NAME|UID [--policy FILE]

  --broker-user NAME|UID  the only user whose connections are served (EPHYR_BROKER_USER; required)
  --policy FILE           the policy (EPHYR_POLICY; /etc/ephyr/policy.yaml)
  --socket PATH           the socket, unless systemd passes one named signer
                          (EPHYR_SIGNER_SOCKET; /run/ephyr-signer/signer.sock)
  --socket-group NAME|GID the socket's group (EPHYR_SIGNER_SOCKET_GROUP; the signer's own)
  --ca-key FILE           the CA key, OpenSSH Ed25519, mode 0600 or 0400, own user
                          (EPHYR_CA_KEY; $CREDENTIALS_DIRECTORY/ca_key)
  --ca-pub FILE           the CA's public keys, one a line; the key must be one of them
                          (EPHYR_CA_PUB; not checked)
  --journal FILE          the journal of signatures and refusals (EPHYR_SIGNER_JOURNAL;
                          $STATE_DIRECTORY/journal, else /var/lib/ephyr-signer/journal)
  --check                 only check whether a reload would accept the policy: exit status 0, or
                          78 with the reasons
  -h, --help
  -V, --version

SIGHUP reloads the policy, SIGTERM and SIGINT stop.";

/// The parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Serve.
    Run(Options),
    /// Check whether the policy can be loaded, and exit.
    Check {
        /// The policy file.
        policy: PathBuf,
        /// The only user to be served, by name or UID.
        broker_user: String,
    },
    /// Print this text and exit.
    Print(String),
}

/// The options for serving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The policy file.
    pub policy: PathBuf,
    /// The path of the socket, unless systemd passes one.
    pub socket: PathBuf,
    /// The socket's group, by name or GID.
    pub socket_group: Option<String>,
    /// The CA key file.
    pub ca_key: KeyFile,
    /// The list of CA public keys that must contain the CA key's.
    pub ca_pub: Option<PathBuf>,
    /// The only user to be served, by name or UID.
    pub broker_user: String,
    /// The journal file.
    pub journal: PathBuf,
}

/// The CA key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFile {
    /// A file owned by the signer's user.
    Own(PathBuf),
    /// A credential passed by systemd (`LoadCredential=`, systemd.exec(5)).
    Credential(PathBuf),
}

/// The command line is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// The option does not exist.
    #[error("unknown option {0:?}")]
    Unknown(String),
    /// The option has no value.
    #[error("{0} needs a value")]
    NoValue(&'static str),
    /// The value is not UTF-8.
    #[error("the value of {0} is not UTF-8")]
    NotText(&'static str),
    /// The broker's user is missing.
    #[error("--broker-user is required: without it any local user could request certificates")]
    NoBrokerUser,
    /// The CA key's path is missing.
    #[error("--ca-key is required because $CREDENTIALS_DIRECTORY is not set")]
    NoKey,
}

const OPTIONS: [(&str, &str); 7] = [
    ("--broker-user", "EPHYR_BROKER_USER"),
    ("--policy", "EPHYR_POLICY"),
    ("--socket", "EPHYR_SIGNER_SOCKET"),
    ("--socket-group", "EPHYR_SIGNER_SOCKET_GROUP"),
    ("--ca-key", "EPHYR_CA_KEY"),
    ("--ca-pub", "EPHYR_CA_PUB"),
    ("--journal", "EPHYR_SIGNER_JOURNAL"),
];

/// Parses the command line. An option that is not given comes from the environment, else from the defaults.
///
/// # Errors
///
/// [`ArgsError`] names the option that is wrong or missing.
pub fn parse(
    mut arguments: impl Iterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Parsed, ArgsError> {
    let mut values: [Option<OsString>; OPTIONS.len()] = Default::default();
    let mut check = false;
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        match text.as_ref() {
            "-h" | "--help" => return Ok(Parsed::Print(HELP.to_owned())),
            "-V" | "--version" => {
                let version = concat!("ephyr-signer ", env!("CARGO_PKG_VERSION"));
                return Ok(Parsed::Print(version.to_owned()));
            }
            "--check" => {
                check = true;
                continue;
            }
            _ => {}
        }
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text.as_ref(), None),
        };
        let index = OPTIONS
            .iter()
            .position(|(option, _)| *option == name)
            .ok_or_else(|| ArgsError::Unknown(name.to_owned()))?;
        let value = inline.or_else(|| arguments.next());
        values[index] = Some(value.ok_or(ArgsError::NoValue(OPTIONS[index].0))?);
    }
    for (value, (_, variable)) in values.iter_mut().zip(OPTIONS) {
        if value.is_none() {
            *value = environment(variable).filter(|text| !text.is_empty());
        }
    }
    if check {
        let [broker_user, policy, ..] = values;
        return Ok(Parsed::Check {
            policy: path(policy, POLICY),
            broker_user: broker(broker_user)?,
        });
    }
    options(values, environment).map(Parsed::Run)
}

/// The default policy file.
const POLICY: &str = "/etc/ephyr/policy.yaml";

fn path(value: Option<OsString>, default: &str) -> PathBuf {
    value.map_or_else(|| PathBuf::from(default), PathBuf::from)
}

fn text(value: OsString, option: &'static str) -> Result<String, ArgsError> {
    value.into_string().map_err(|_| ArgsError::NotText(option))
}

fn broker(value: Option<OsString>) -> Result<String, ArgsError> {
    text(value.ok_or(ArgsError::NoBrokerUser)?, "--broker-user")
}

fn options(
    values: [Option<OsString>; OPTIONS.len()],
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Options, ArgsError> {
    let [
        broker_user,
        policy,
        socket,
        socket_group,
        ca_key,
        ca_pub,
        journal,
    ] = values;
    let ca_key = match (ca_key, environment("CREDENTIALS_DIRECTORY")) {
        (Some(file), _) => KeyFile::Own(file.into()),
        (None, Some(directory)) => KeyFile::Credential(PathBuf::from(directory).join("ca_key")),
        (None, None) => return Err(ArgsError::NoKey),
    };
    let state = environment("STATE_DIRECTORY").map(PathBuf::from);
    let state = state.unwrap_or_else(|| PathBuf::from("/var/lib/ephyr-signer"));
    Ok(Options {
        policy: path(policy, POLICY),
        socket: path(socket, "/run/ephyr-signer/signer.sock"),
        socket_group: socket_group
            .map(|value| text(value, "--socket-group"))
            .transpose()?,
        ca_key,
        ca_pub: ca_pub.map(PathBuf::from),
        broker_user: broker(broker_user)?,
        journal: journal.map_or_else(|| state.join("journal"), PathBuf::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Options, ArgsError> {
        let arguments = arguments.iter().map(OsString::from);
        let environment = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        match parse(arguments, &environment)? {
            Parsed::Run(options) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn command_line_overrides_environment_overrides_defaults() {
        let options = run(
            &["--broker-user", "990", "--journal=/j"],
            &[
                ("EPHYR_BROKER_USER", "someone"),
                ("EPHYR_POLICY", "/p"),
                ("CREDENTIALS_DIRECTORY", "/c"),
                ("STATE_DIRECTORY", "/s"),
            ],
        )
        .unwrap();
        assert_eq!(options.broker_user, "990");
        assert_eq!(options.policy, PathBuf::from("/p"));
        assert_eq!(
            options.socket,
            PathBuf::from("/run/ephyr-signer/signer.sock")
        );
        assert_eq!(options.ca_key, KeyFile::Credential("/c/ca_key".into()));
        assert_eq!(options.journal, PathBuf::from("/j"));
        assert_eq!(options.ca_pub, None);
        let options = run(
            &["--broker-user", "b", "--ca-key", "/k", "--ca-pub", "/l"],
            &[("STATE_DIRECTORY", "/s"), ("CREDENTIALS_DIRECTORY", "/c")],
        )
        .unwrap();
        assert_eq!(options.ca_key, KeyFile::Own("/k".into()));
        assert_eq!(options.ca_pub, Some(PathBuf::from("/l")));
        assert_eq!(options.journal, PathBuf::from("/s/journal"));
    }

    #[test]
    fn w8_broker_user_is_required() {
        let key = [("EPHYR_CA_KEY", "/k")];
        assert_eq!(run(&[], &key), Err(ArgsError::NoBrokerUser));
        let empty = [("EPHYR_CA_KEY", "/k"), ("EPHYR_BROKER_USER", "")];
        assert_eq!(run(&[], &empty), Err(ArgsError::NoBrokerUser));
        assert!(run(&["--broker-user", "990"], &key).is_ok());
    }

    #[test]
    fn check_needs_the_broker_user_but_no_key() {
        let check = |arguments: &[&str]| parse(arguments.iter().map(OsString::from), &|_| None);
        assert_eq!(
            check(&["--check", "--broker-user", "990"]),
            Ok(Parsed::Check {
                policy: POLICY.into(),
                broker_user: "990".into()
            })
        );
        assert_eq!(check(&["--check"]), Err(ArgsError::NoBrokerUser));
    }

    #[test]
    fn errors_name_the_option() {
        let key = [("EPHYR_CA_KEY", "/k")];
        let unknown = ArgsError::Unknown("--brokeruser".into());
        assert_eq!(run(&["--brokeruser", "1"], &key), Err(unknown));
        assert_eq!(
            run(&["--policy"], &key),
            Err(ArgsError::NoValue("--policy"))
        );
        assert_eq!(run(&["--broker-user", "1"], &[]), Err(ArgsError::NoKey));
    }
}
