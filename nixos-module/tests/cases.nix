# Configurations with the expected result: sound, refused by an assertion (`fails`: a part of its message), or
# refused by a type (`throws`).
{ lib }:
let
  key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBFb0pR5mR0UgbYKcqoUIkxBSF1sNaC/hxrFKJ9XBTHE";

  base = {
    services.ephyr = {
      enable = true;
      caPublicKeys = [ key ];
      caKeyFile = "/var/lib/secrets/ephyr_ca_key";
      credentials.watch_api_key_hash.file = "/var/lib/secrets/watch";
      agents.deploy = {
        uid = 1501;
        command = [
          "/bin/agent"
          "--say"
          "100% $HOME"
        ];
      };
      agents.fetch = {
        uid = 1502;
        command = [ "/bin/agent" ];
        egress = [
          {
            cidr = "192.0.2.0/24";
            port = 443;
          }
        ];
      };
      agents.manual.uid = 1503;
      settings = {
        roles.read = {
          principal = "agent-read";
          shell = "/bin/sh";
          commands = [ "uptime" ];
        };
        targets.web = {
          host = "web.internal.example";
          host_key = key;
          allowed_roles = [ "read" ];
          auto_approve = true;
        };
        agents.deploy.ssh.web.roles = [ "read" ];
        agents.watch = {
          api_key_hash_credential = "watch_api_key_hash";
          ssh.web.roles = [ "read" ];
        };
      };
    };
  };
  # As the appliance's policy module is imported on a target: nothing is enabled but the target.
  target = {
    services.openssh.enable = true;
    services.ephyr = {
      inherit (base.services.ephyr) agents caPublicKeys settings;
      target = {
        enable = true;
        name = "web";
      };
    };
  };
  second = principal: {
    services.ephyr.target.authorities.second = {
      target = "shop";
      caPublicKeys = [ key ];
      settings = {
        roles.look = { inherit principal; };
        targets.shop = {
          host = "web.internal.example";
          host_key = key;
          allowed_roles = [ "look" ];
        };
        agents.seller = {
          uid = 1501;
          ssh.shop.roles = [ "look" ];
        };
      };
    };
  };
  with' = module: {
    imports = [
      base
      module
    ];
  };
  targetWith = module: {
    imports = [
      target
      module
    ];
  };
  role =
    settings:
    targetWith {
      services.ephyr.settings = {
        roles.more = settings;
        targets.web.allowed_roles = [ "more" ];
      };
    };
  agent = {
    user = "ephyr-agent-deploy";
    inGroup = group: with' { users.users.ephyr-agent-deploy.extraGroups = [ group ]; };
  };
in
{
  sound.module = base;

  disabled.module = {
    services.ephyr.enable = false;
  };

  no-public-key = {
    module = with' { services.ephyr.caPublicKeys = lib.mkForce [ ]; };
    fails = "caPublicKeys is empty";
  };
  no-key-file = {
    module = with' { services.ephyr.caKeyFile = lib.mkForce null; };
    fails = "caKeyFile is not set";
  };
  key-in-the-store = {
    module = with' {
      services.ephyr.caKeyFile = lib.mkForce "/nix/store/00000000000000000000000000000000-ca_key";
    };
    throws = true;
  };
  key-by-a-relative-path = {
    module = with' { services.ephyr.caKeyFile = lib.mkForce "secrets/ca_key"; };
    throws = true;
  };
  credential-in-the-store = {
    module = with' {
      services.ephyr.credentials.one.file = "/nix/store/00000000000000000000000000000000-one";
    };
    throws = true;
  };
  # As a literal it would be copied into the store.
  key-as-a-literal-path = {
    module = with' { services.ephyr.caKeyFile = lib.mkForce /var/lib/secrets/ephyr_ca_key; };
    throws = true;
  };
  credential-as-a-literal-path = {
    module = with' { services.ephyr.credentials.one.file = /var/lib/secrets/one; };
    throws = true;
  };
  key-at-a-path-that-systemd-reads-otherwise = {
    module = with' { services.ephyr.caKeyFile = lib.mkForce "/var/lib/%H/ca_key"; };
    throws = true;
  };
  credential-with-a-name-that-systemd-reads-otherwise = {
    module = with' { services.ephyr.credentials."one:two".file = "/var/lib/secrets/one"; };
    fails = "is no name of a credential";
  };
  readable-path-that-is-two-words = {
    module = with' { services.ephyr.readable = [ "/opt --rw /" ]; };
    throws = true;
  };
  agent-that-is-the-signer = {
    module = with' { services.ephyr.agents.deploy.user = lib.mkForce "ephyr-signer"; };
    fails = "runs a unit of Ephyr itself";
  };
  agent-that-is-the-guard = {
    module = with' { services.ephyr.agents.deploy.user = lib.mkForce "ephyr-netguard"; };
    fails = "runs a unit of Ephyr itself";
  };
  uid-that-systemd-may-give-to-a-service = {
    module = with' { services.ephyr.agents.other.uid = 61184; };
    throws = true;
  };
  private-key-as-public-one = {
    module = with' { services.ephyr.caPublicKeys = [ "-----BEGIN OPENSSH PRIVATE KEY-----" ]; };
    throws = true;
  };
  inline-hash = {
    module = with' {
      services.ephyr.settings.agents.watch.api_key_hash = "$2b$10$abcdefghijklmnopqrstuv";
    };
    fails = "would lie in the store";
  };
  inline-hash-in-a-template = {
    module = with' {
      services.ephyr.settings.templates.any.api_key_hash = "$2b$10$abcdefghijklmnopqrstuv";
    };
    fails = "would lie in the store";
  };
  unknown-credential = {
    module = with' { services.ephyr.credentials = lib.mkForce { }; };
    fails = "watch_api_key_hash";
  };
  readable-everything = {
    module = with' { services.ephyr.readable = [ "/" ]; };
    fails = "sockets of the whole system";
  };
  readable-run = {
    module = with' { services.ephyr.readable = [ "/run/" ]; };
    fails = "sockets of the whole system";
  };
  uid-without-a-user = {
    module = with' { services.ephyr.settings.agents.watch.uid = 1504; };
    fails = "has a uid but no user";
  };
  another-uid-in-the-policy = {
    module = with' { services.ephyr.settings.agents.deploy.uid = 1504; };
    throws = true;
  };
  no-uid = {
    module = with' { services.ephyr.agents.other = { }; };
    throws = true;
  };
  same-uid-as-another-agent = {
    module = with' { services.ephyr.agents.other.uid = 1501; };
    fails = "is also the UID of";
  };
  same-uid-as-a-person = {
    module = with' {
      users.users.alice = {
        isNormalUser = true;
        uid = 1501;
      };
    };
    fails = "is also the UID of alice";
  };
  root-as-an-agent = {
    module = with' { services.ephyr.agents.other.uid = 0; };
    throws = true;
  };
  agent-in-docker = {
    module = agent.inGroup "docker";
    fails = "as good as root";
  };
  agent-in-podman = {
    module = agent.inGroup "podman";
    fails = "as good as root";
  };
  agent-in-libvirtd = {
    module = agent.inGroup "libvirtd";
    fails = "as good as root";
  };
  agent-in-wheel = {
    module = agent.inGroup "wheel";
    fails = "as good as root";
  };
  agent-in-wheel-by-its-members = {
    module = with' { users.groups.wheel.members = [ agent.user ]; };
    fails = "as good as root";
  };
  agent-that-may-ask-the-signer = {
    module = agent.inGroup "ephyr-signer-clients";
    fails = "as good as root";
  };
  agent-in-a-harmless-group.module = agent.inGroup "music";
  agent-trusted-by-nix = {
    module = with' { nix.settings.trusted-users = [ agent.user ]; };
    fails = "trusted by the Nix daemon";
  };
  everyone-trusted-by-nix = {
    module = with' { nix.settings.trusted-users = [ "*" ]; };
    fails = "trusted by the Nix daemon";
  };
  agents-group-trusted-by-nix = {
    module = with' { nix.settings.trusted-users = [ "@ephyr-agents" ]; };
    fails = "trusted by the Nix daemon";
  };
  others-trusted-by-nix.module = with' {
    nix.settings.trusted-users = [
      "root"
      "@wheel"
    ];
  };
  agent-with-sub-uids = {
    module = with' { users.users.ephyr-agent-deploy.autoSubUidGidRange = true; };
    fails = "has sub-UIDs";
  };
  agent-with-a-range-of-sub-uids = {
    module = with' {
      users.users.ephyr-agent-deploy.subUidRanges = [
        {
          startUid = 100000;
          count = 65536;
        }
      ];
    };
    fails = "has sub-UIDs";
  };
  agent-that-lingers = {
    module = with' { users.users.ephyr-agent-deploy.linger = true; };
    fails = "lingers";
  };
  agent-with-an-impossible-user = {
    module = with' { services.ephyr.agents.deploy.user = "Deploy.Bot"; };
    throws = true;
  };
  target.module = target;
  target-and-appliance.module = {
    imports = [
      base
      target
    ];
  };
  target-without-ssh = {
    module = {
      imports = [ target ];
      services.openssh.enable = lib.mkForce false;
    };
    fails = "set services.openssh.enable";
  };
  target-of-nobody = {
    module = {
      services.openssh.enable = true;
      services.ephyr.target.enable = true;
    };
    fails = "whose target is this";
  };
  target-without-the-agents-uids = {
    module = targetWith { services.ephyr.agents = lib.mkForce { }; };
    fails = "does not say who deploy is";
  };
  target-that-the-policy-does-not-know = {
    module = {
      imports = [ target ];
      services.ephyr.target.name = lib.mkForce "db";
    };
    fails = "no target of that name";
  };
  target-of-two-appliances.module = {
    imports = [
      target
      (second "other-read")
    ];
  };
  target-of-two-appliances-with-one-account = {
    module = {
      imports = [
        target
        (second "agent-read")
      ];
    };
    fails = "would be an account of two appliances";
  };
  # Everything that a role may be, two appliances, and an operator with a say in sshd and sudo.
  target-in-full = {
    module = {
      imports = [
        (second "other-read")
        (role {
          principal = "agent-operate";
          system = false;
          pty = true;
          sudo = [ "/run/current-system/sw/bin/systemctl restart nginx.service" ];
        })
      ];
      services.ephyr.settings = {
        roles.all = {
          principal = "root";
          allow_root_equivalent = true;
        };
        targets.web.allowed_roles = [ "all" ];
      };
      services.cron.enable = true;
      services.atd.enable = true;
      services.openssh.settings.AllowGroups = [ "users" ];
      services.openssh.extraConfig = ''
        Match User alice
          PasswordAuthentication no
        Match Address 127.0.0.0/8
          ForceCommand /bin/echo hi
      '';
      # As NixOS' own module sets it.
      environment.etc."ssh/sshd_config".source = "/nix/store/00000000000000000000000000000000-sshd.conf-final";
      security.sudo.extraConfig = "alice ALL=(ALL) ALL";
    };
    policies = rec {
      # No target allows the role.
      warned = {
        roles.read.principal = "agent-read";
        agents.deploy.uid = 1501;
      };
      wrong = warned // {
        rolse = { };
      };
    };
  };
  target-with-a-shell-of-other-systems = {
    module = role {
      principal = "agent-more";
      shell = "/usr/bin/bash";
    };
    fails = "NixOS has no /usr/bin/bash";
  };
  target-with-a-shell-of-nixos.module = role {
    principal = "agent-more";
    shell = "/run/current-system/sw/bin/dash";
  };
  target-with-somebodys-account = {
    module = {
      imports = [ (role { principal = "alice"; }) ];
      users.users.alice.openssh.authorizedKeys.keys = [ key ];
    };
    fails = "so somebody's";
  };
  target-with-sudo-rules-and-no-sudo = {
    module = {
      imports = [
        (role {
          principal = "agent-more";
          sudo = [ "/bin/true" ];
        })
      ];
      security.sudo.enable = false;
    };
    fails = "set security.sudo.enable";
  };
  target-without-sudo-rules-and-no-sudo.module = {
    imports = [
      (role {
        principal = "agent-more";
        sudo = [ ];
      })
    ];
    security.sudo.enable = false;
  };
  mcp-off.module = with' { services.ephyr.mcp.enable = false; };
  directive-overridden.module = with' {
    systemd.services.ephyr-broker.serviceConfig.TasksMax = 2048;
  };
}
