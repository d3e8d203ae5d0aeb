//! The stage: keys, policy, targets and daemons, and a look at who runs as whom.

use std::fs;

use ephyr_testkit::{Footing, World};

use crate::Failure;
use crate::narrator::Narrator;

/// Makes the world and starts it.
pub(crate) fn set(narrator: &mut Narrator) -> Result<World, Failure> {
    narrator.step("A throw-away appliance is set up in a temporary directory.");
    let mut world = World::builder().prepare()?;
    narrator.tell(match world.accounts().footing {
        Footing::Private => {
            "It has accounts of its own in a private mount namespace: /etc/passwd stays as it is."
        }
        Footing::Numeric => {
            "Mount namespaces are forbidden here: daemons have user ids of their own, the target's \
             account is root."
        }
        Footing::Plain => "You are not root, so everything runs as you.",
    });
    let port = world.target("web")?.port;
    narrator.tell(&format!(
        "A real OpenSSH server plays the host \"web\" on 127.0.0.1:{port}. It trusts a certificate\n\
         authority made just now, and nothing else: no passwords, no authorized_keys."
    ));
    narrator.tell("The policy gives the agent \"scout\" one thing: the role \"read\" on \"web\".");

    narrator.step(if world.accounts().are_separate() {
        "Signer and broker start, as two users that cannot read each other's files."
    } else {
        "Signer and broker start. As root they would be two users; here both are you."
    });
    world.start_signer()?;
    world.start_broker()?;
    let signer = world.signer()?.pid();
    let broker = world.broker()?.pid();
    let (signer_uid, broker_uid) = (uid_of(signer)?, uid_of(broker)?);
    narrator.tell(&format!(
        "signer: process {signer}, user id {signer_uid}; holds the CA key, has no network"
    ));
    narrator.tell(&format!(
        "broker: process {broker}, user id {broker_uid}; holds no CA key, does the talking"
    ));
    if world.accounts().are_separate() {
        let apart = signer_uid != broker_uid && signer_uid != 0 && broker_uid != 0;
        if !apart {
            return Err("signer and broker should be two unprivileged users".into());
        }
    }
    Ok(world)
}

/// The real user id of a process.
fn uid_of(pid: u32) -> Result<u32, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .ok_or("no Uid line")?;
    Ok(line
        .split_whitespace()
        .next()
        .ok_or("no user id")?
        .parse()?)
}
