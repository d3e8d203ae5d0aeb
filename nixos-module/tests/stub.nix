# The NixOS options that the module sets or reads, with the types that they have there, and nothing of what
# NixOS makes of them. Enough to evaluate every option of the module with nixpkgs' lib alone.
{ lib, ... }:
let
  inherit (lib) mkOption types;

  atom = types.oneOf [
    types.bool
    types.int
    types.str
    types.path
    types.package
  ];
  directives = types.attrsOf (types.either atom (types.listOf atom));

  text = mkOption {
    type = types.lines;
    default = "";
  };
  listOf =
    element:
    mkOption {
      type = types.listOf element;
      default = [ ];
    };
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };
  attrsOf =
    options:
    mkOption {
      type = types.attrsOf (types.submodule options);
      default = { };
    };
  nullOr =
    element:
    mkOption {
      type = types.nullOr element;
      default = null;
    };
  anything = mkOption {
    type = types.attrsOf types.anything;
    default = { };
  };
  section = mkOption {
    type = directives;
    default = { };
  };

  unit = {
    description = mkOption {
      type = types.singleLineStr;
      default = "";
    };
    unitConfig = section;
    reloadTriggers = listOf atom;
    restartTriggers = listOf atom;
  }
  // lib.genAttrs [
    "after"
    "before"
    "conflicts"
    "requiredBy"
    "requires"
    "wants"
    "wantedBy"
  ] (_: listOf types.str);
in
{
  options = {
    assertions = listOf types.unspecified;
    warnings = listOf types.str;
    environment.systemPackages = listOf types.package;
    environment.etc = attrsOf {
      options = {
        source = nullOr types.path;
        text = nullOr types.lines;
        mode = mkOption {
          type = types.str;
          default = "symlink";
        };
      };
    };
    users.users = attrsOf (
      { config, ... }: {
        options = {
          isSystemUser = flag false;
          isNormalUser = flag false;
          uid = nullOr types.int;
          group = mkOption {
            type = types.str;
            default = "";
          };
          extraGroups = listOf types.str;
          home = mkOption {
            type = types.path;
            default = "/var/empty";
          };
          createHome = flag false;
          homeMode = mkOption {
            type = types.strMatching "[0-7]{1,5}";
            default = "700";
          };
          shell = nullOr (types.either types.package types.path);
          description = mkOption {
            type = types.str;
            default = "";
          };
          hashedPassword = nullOr types.str;
          initialHashedPassword = nullOr types.str;
          subUidRanges = listOf types.attrs;
          subGidRanges = listOf types.attrs;
          autoSubUidGidRange = flag false;
          linger = nullOr types.bool;
          openssh.authorizedKeys.keys = listOf types.singleLineStr;
        };
        # What an account of a person gets.
        config = lib.mkIf config.isNormalUser {
          createHome = lib.mkDefault true;
          autoSubUidGidRange = lib.mkDefault true;
          group = lib.mkDefault "users";
        };
      }
    );
    users.manageLingering = flag true;
    users.groups = attrsOf {
      options = {
        gid = nullOr types.int;
        members = listOf types.str;
      };
    };
    systemd.services = attrsOf ({
      options = unit // {
        serviceConfig = section;
        environment = mkOption {
          type = types.attrsOf (types.nullOr (types.either types.str types.path));
          default = { };
        };
        path = listOf (types.either types.package types.str);
        preStart = text;
        script = text;
        stopIfChanged = flag true;
        restartIfChanged = flag true;
      };
    });
    systemd.sockets = attrsOf {
      options = unit // {
        socketConfig = section;
      };
    };
    systemd.targets = attrsOf { options = unit; };
    systemd.tmpfiles.settings = mkOption {
      type = types.attrsOf (types.attrsOf (types.attrsOf types.attrs));
      default = { };
    };
    services.atd.enable = flag false;
    services.getty = anything;
    services.cron.enable = flag false;
    services.openssh.enable = flag false;
    services.openssh.hostKeys = listOf types.attrs;
    services.openssh.settings = anything;
    services.openssh.extraConfig = text;
    security.sudo.enable = flag true;
    security.sudo.extraConfig = text;
    # What machines of VM tests and of the template have besides.
    networking = anything;
    system = anything;
    virtualisation = anything;
    nix.settings.trusted-users = listOf types.str;
  };
}
