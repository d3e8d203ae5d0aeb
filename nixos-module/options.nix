# Declarations of all options; docs/options.md is generated from them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkEnableOption mkOption types;
  inherit (config.services) ephyr;

  # Other keys are left to the policy's own check, which runs in the build.
  policyPart =
    options:
    types.submodule {
      freeformType = types.json;
      inherit options;
    };

  # Texts that are copied into units: no character may have a meaning to systemd.
  plain = "[A-Za-z0-9/._+,=-]*";

  # A file that exists at run time only: the store is world-readable.
  secretFile = types.addCheck (types.pathWith {
    absolute = true;
    inStore = false;
  }) (path: builtins.match plain path != null);

  # A path that agents read, which may be in the store.
  shownPath = types.addCheck types.path (path: builtins.match plain (toString path) != null);

  publicKey = types.strMatching "ssh-ed25519 [A-Za-z0-9+/=]+( .*)?";

  credential = types.submodule {
    options = {
      file = mkOption {
        type = secretFile;
        example = "/var/lib/secrets/gitea_token";
        description = "Where it lies at run time; systemd reads it as root and hands it to the broker alone.";
      };
      encrypted = mkOption {
        type = types.bool;
        default = false;
        description = "Whether it was made by `systemd-creds encrypt --name=NAME`.";
      };
    };
  };

  egress = types.submodule {
    options = {
      cidr = mkOption {
        type = types.str;
        example = "192.0.2.0/24";
        description = "The addresses.";
      };
      port = mkOption {
        type = types.port;
        example = 443;
        description = "The TCP port.";
      };
    };
  };

  agent =
    { name, ... }:
    {
      options = {
        uid = mkOption {
          # systemd assigns higher UIDs dynamically (DynamicUser=, homes, containers).
          type = types.ints.between 100 60000;
          example = 1501;
          description = ''
            Its UID, by which broker and firewall know it. Fixed, so that no other user gets it later; it goes
            into the policy as `agents.<name>.uid`.
          '';
        };
        user = mkOption {
          type = types.strMatching "[a-z_][a-z0-9_-]{0,30}";
          default = "ephyr-agent-${name}";
          defaultText = lib.literalExpression ''"ephyr-agent-''${name}"'';
          description = "Its user, with a group of the same name, and a member of `ephyr-agents`.";
        };
        command = mkOption {
          type = types.listOf types.str;
          default = [ ];
          example = lib.literalExpression ''[ "''${pkgs.my-agent}/bin/my-agent" "--once" ]'';
          description = ''
            What its unit runs, word by word: `ephyr-agent-<name>.service`, inside the sandbox. Without it there is
            a user and no unit, and only the firewall keeps what runs as that user from the network.
          '';
        };
        packages = mkOption {
          type = types.listOf types.package;
          default = [ ];
          example = lib.literalExpression "[ pkgs.git ]";
          description = "What its unit finds in `PATH`, besides `ephyr`.";
        };
        egress = mkOption {
          type = types.listOf egress;
          default = [ ];
          example = [
            {
              cidr = "192.0.2.7/32";
              port = 443;
            }
          ];
          description = ''
            Where it may go without the broker. With any of these its unit has the host's network and the firewall
            alone lets exactly them through; they go into the policy as `agents.<name>.egress`.
          '';
        };
      };
    };

  authority = {
    options = {
      target = mkOption {
        type = types.str;
        example = "web";
        description = "Which target of that appliance's policy this host is.";
      };
      settings = mkOption {
        type = types.json;
        example = lib.literalExpression "self.nixosConfigurations.other.config.services.ephyr.settings";
        description = "That appliance's policy, with the UIDs of its agents.";
      };
      caPublicKeys = mkOption {
        type = types.nonEmptyListOf publicKey;
        example = [ "ssh-ed25519 AAAA… ephyr CA" ];
        description = "That appliance's CA keys.";
      };
    };
  };

  settings = {
    options = {
      agents = mkOption {
        type = types.attrsOf (policyPart {
          ssh = mkOption {
            type = types.attrsOf (policyPart {
              roles = mkOption {
                type = types.listOf types.str;
                example = [ "read" ];
                description = "What it may be there; the target's `allowed_roles` narrow it.";
              };
            });
            default = { };
            example = {
              web.roles = [ "read" ];
            };
            description = "Roles by target.";
          };
          max_concurrent_certs = mkOption {
            type = types.nullOr types.ints.positive;
            default = null;
            description = "How many certificates it may have at one time; the policy's default if null.";
          };
          api_key_hash_credential = mkOption {
            type = types.nullOr types.str;
            default = null;
            example = "watch_api_key_hash";
            description = "For an agent that lives elsewhere: which of `services.ephyr.credentials` is the hash of its API key.";
          };
        });
        default = { };
        description = "AI agents that may use the broker. Agents of `services.ephyr.agents` get their `uid` and `egress` from there.";
      };
      roles = mkOption {
        type = types.attrsOf (policyPart {
          principal = mkOption {
            type = types.strMatching "[a-z_][a-z0-9_-]{0,30}";
            example = "agent-read";
            description = "The Unix account on the target.";
          };
          commands = mkOption {
            type = types.nullOr (types.listOf types.str);
            default = null;
            example = [ "systemctl status *" ];
            description = "The only commands that it may run; any if null.";
          };
        });
        default = { };
        description = "What agents may be on targets.";
      };
      targets = mkOption {
        type = types.attrsOf (policyPart {
          host = mkOption {
            type = types.str;
            example = "web.internal.example";
            description = "Its DNS name or address.";
          };
          allowed_roles = mkOption {
            type = types.listOf types.str;
            example = [ "read" ];
            description = "The roles that exist on it.";
          };
          auto_approve = mkOption {
            type = types.nullOr types.bool;
            default = null;
            description = "Whether grants are used without a human's approval; the policy's default (no) if null.";
          };
        });
        default = { };
        description = "SSH hosts.";
      };
      admins = mkOption {
        type = types.attrsOf (policyPart {
          ssh_keys = mkOption {
            type = types.nullOr (types.listOf types.str);
            default = null;
            description = "Ed25519 keys whose signatures approve.";
          };
        });
        default = { };
        description = "People who approve and operate.";
      };
      global = mkOption {
        type = policyPart {
          max_active_certs = mkOption {
            type = types.nullOr types.ints.positive;
            default = null;
            description = "How many certificates are out at one time, of all agents; the policy's default if null.";
          };
          max_ttl = mkOption {
            type = types.nullOr types.str;
            default = null;
            example = "30m";
            description = "A certificate's longest life; the policy's default if null.";
          };
        };
        default = { };
        description = "Limits and defaults for everyone.";
      };
    };
  };
in
{
  options.services.ephyr = {
    enable = mkEnableOption "Ephyr, which lets AI agents use SSH hosts without a credential, on this host";

    package = mkOption {
      type = types.package;
      defaultText = lib.literalMD "the package of Ephyr's own flake";
      description = "`ephyr`, `ephyr-signer`, `ephyr-broker` and `ephyr-netguard`.";
    };

    checkPackage = mkOption {
      type = types.package;
      default = ephyr.package;
      defaultText = lib.literalExpression "config.services.ephyr.package";
      description = ''
        The same for the machine that builds, which checks and compiles the policy. Only where a configuration is
        built for another architecture does it differ.
      '';
    };

    settings = mkOption {
      type = types.submodule {
        freeformType = types.json;
        inherit (settings) options;
      };
      default = { };
      example = lib.literalExpression ''
        {
          roles.read = {
            principal = "agent-read";
            commands = [ "uptime" "journalctl --no-pager -u nginx" ];
          };
          targets.web = {
            host = "web.internal.example";
            host_key = "ssh-ed25519 AAAA…";
            allowed_roles = [ "read" ];
            auto_approve = true;
          };
          agents.deploy.ssh.web.roles = [ "read" ];
        }
      '';
      description = ''
        The policy: who may do what, where. Every key of docs/policy.md can be set; those below have types of their
        own. It is checked and compiled while the system is built, and a mistake fails the build with its place. The
        policy is no secret: it lies in the store.
      '';
    };

    compiled = mkOption {
      type = types.package;
      readOnly = true;
      default = (import ./policy.nix { inherit lib pkgs; }).compiled {
        package = ephyr.checkPackage;
        inherit (ephyr) settings;
      };
      defaultText = lib.literalMD "made of `settings`";
      description = ''
        The checked policy and what is made of it, which can be built alone:
        `nix build .#nixosConfigurations.appliance.config.services.ephyr.compiled`.
      '';
    };

    caPublicKeys = mkOption {
      type = types.listOf publicKey;
      default = [ ];
      example = [ "ssh-ed25519 AAAA… ephyr CA" ];
      description = ''
        What `ephyr ca init` printed. Two while the key is being changed: targets accept both, and the signer must
        have one of them, or it does not start.
      '';
    };

    caKeyFile = mkOption {
      type = types.nullOr secretFile;
      default = null;
      example = "/var/lib/secrets/ephyr_ca_key";
      description = ''
        Where the CA's private key lies at run time. It never goes into the store; systemd reads it as root and
        hands it to the signer alone.
      '';
    };

    caKeyEncrypted = mkOption {
      type = types.bool;
      default = false;
      description = "Whether that file was made by `systemd-creds encrypt --name=ca_key`.";
    };

    credentials = mkOption {
      type = types.attrsOf credential;
      default = { };
      example = {
        watch_api_key_hash.file = "/var/lib/secrets/watch_api_key_hash";
      };
      description = "What the policy names as a credential: hashes of API keys, tokens of services. None of it goes into the store.";
    };

    mcp.enable = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether MCP is also served on 127.0.0.1:8554, for agents with an API key. There is no TLS, and so no other
        address: agents on other machines need a tunnel. Agents of this host use the Unix socket.
      '';
    };

    agents = mkOption {
      type = types.attrsOf (types.submodule agent);
      default = { };
      example = lib.literalExpression ''
        {
          deploy = {
            uid = 1501;
            command = [ "''${pkgs.my-agent}/bin/my-agent" ];
          };
        }
      '';
      description = "Agents that live on the appliance. Targets read of them what is in the policy, `uid` and `egress`, and make no users.";
    };

    target = {
      enable = mkEnableOption "this host as a target, which agents may use through an appliance";

      name = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "web";
        description = ''
          Which of `services.ephyr.settings.targets` this host is. `services.ephyr.settings`, `caPublicKeys` and the
          UIDs of `services.ephyr.agents` are the appliance's: import the same module there and here. Null where only
          `authorities` say it.
        '';
      };

      authorities = mkOption {
        type = types.attrsOf (types.submodule authority);
        default = { };
        description = ''
          The appliances whose certificates open this host, by a name of your choice; `ephyr` is the one of
          `services.ephyr.settings`. Each has accounts of its own.
        '';
      };

      compiled = mkOption {
        type = types.attrsOf types.package;
        readOnly = true;
        defaultText = lib.literalMD "made of `authorities`";
        description = "By authority, what sshd and sudo read: it can be built alone.";
      };
    };

    readable = mkOption {
      type = types.listOf shownPath;
      default = [
        "/nix/store"
        "/etc"
        "/proc"
      ];
      description = ''
        What agents' units may read besides their own directory, programs in it included; nothing else of the host is
        there for them. Sockets in it can be connected to, on kernels before Landlock ABI 9.
      '';
    };
  };
}
