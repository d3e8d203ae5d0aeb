# A target: the accounts of its roles, and what sshd and sudo are told about them. The files come from
# `ephyr target render` while the system is built; only accounts are computed here.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    attrNames
    concatMap
    concatMapStrings
    filterAttrs
    genAttrs
    mapAttrs
    mapAttrs'
    mapAttrsToList
    mkAfter
    mkIf
    mkMerge
    nameValuePair
    ;

  cfg = config.services.ephyr;
  inherit (cfg.target) authorities;
  policy = import ./policy.nix { inherit lib pkgs; };

  # Of one appliance: { "<account>" = <role>; }.
  accountsOf =
    authority:
    let
      names = (authority.settings.targets.${authority.target} or { }).allowed_roles or [ ];
      role = name: authority.settings.roles.${name} or null;
    in
    lib.listToAttrs (
      map (name: nameValuePair (role name).principal (role name)) (
        lib.filter (name: role name != null) names
      )
    );

  files =
    name: authority:
    policy.target {
      package = cfg.checkPackage;
      inherit (authority) settings target;
      keys = policy.keys authority.caPublicKeys;
      authority = name;
      accounts = attrNames (accountsOf authority);
    };

  ofEach = make: mkMerge (mapAttrsToList make authorities);
  mayBeRoot = authority: lib.any (role: role ? sudo) (lib.attrValues (accountsOf authority));

  # A shell that the policy names without knowing NixOS.
  shell =
    role:
    if role ? shell && role.shell != "/bin/bash" then role.shell else "/run/current-system/sw/bin/bash";

  everyAccount = concatMap (authority: attrNames (accountsOf authority)) (lib.attrValues authorities);
  twice = lib.filter (account: lib.count (other: other == account) everyAccount > 1) (
    lib.unique everyAccount
  );
  unknown = filterAttrs (
    _: authority: !(authority.settings.targets or { }) ? ${authority.target}
  ) authorities;
in
{
  config = mkIf cfg.target.enable {
    services.ephyr.target.authorities = mkIf (cfg.target.name != null) {
      ephyr = {
        target = cfg.target.name;
        inherit (cfg) settings caPublicKeys;
      };
    };

    assertions = [
      {
        assertion = config.services.openssh.enable;
        message = "services.ephyr.target: agents come by SSH; set services.openssh.enable.";
      }
      {
        assertion = authorities != { };
        message = "services.ephyr.target: whose target is this? Set services.ephyr.target.name, or authorities.";
      }
      {
        assertion = unknown == { };
        message = "services.ephyr.target: no target of that name in the policy of ${toString (attrNames unknown)}.";
      }
      {
        assertion = twice == [ ];
        message = "services.ephyr.target: ${toString twice} would be an account of two appliances, and each could log in as the other's agents. Give the roles other principals.";
      }
    ];

    users.users = ofEach (
      _: authority:
      mapAttrs (account: role: {
        isSystemUser = true;
        group = account;
        shell = shell role;
        home = "/var/lib/ephyr-target/${account}";
        # No password opens it. To sshd `!` would be a locked account, which it lets nobody into without PAM.
        hashedPassword = "*";
        description = "Ephyr role";
      }) (accountsOf authority)
    );
    users.groups = genAttrs everyAccount (_: { });

    # Root's, so that nothing in it makes sshd or a shell do more than the certificate says.
    systemd.tmpfiles.settings.ephyr-target = lib.listToAttrs (
      map (
        account:
        nameValuePair "/var/lib/ephyr-target/${account}" {
          d = {
            mode = "0755";
            user = "root";
            group = "root";
          };
        }
      ) everyAccount
      # Without the list sshd refuses every certificate. It grows; only the first, empty one is made here.
      ++ map (
        name:
        nameValuePair "/var/lib/ephyr-target/${name}.revoked_keys" {
          f = {
            mode = "0644";
            user = "root";
            group = "root";
          };
        }
      ) (attrNames authorities)
    );

    environment.etc = ofEach (
      name: authority:
      let
        tree = files name authority;
        own = "ssh/ephyr/${name}";
      in
      {
        "${own}/ca.pub".source = "${tree}/etc/${own}/ca.pub";
      }
      // mapAttrs' (
        account: _:
        nameValuePair "${own}/principals/${account}" {
          source = "${tree}/etc/${own}/principals/${account}";
          # A copy: sshd reads it only where every directory above it is root's alone, and the store is not.
          mode = "0444";
        }
      ) (accountsOf authority)
    );

    # `Match all` ends whatever block stands before it: each included file opens one of its own.
    services.openssh.extraConfig = mkAfter (
      concatMapStrings (name: ''
        Match all
          Include ${files name authorities.${name}}/etc/ssh/sshd_config.d/50-ephyr-${name}.conf
      '') (attrNames authorities)
    );

    security.sudo.extraConfig = mkAfter (
      concatMapStrings (name: ''
        @include ${files name authorities.${name}}/etc/sudoers.d/ephyr-${name}
      '') (attrNames (filterAttrs (_: mayBeRoot) authorities))
    );
  };
}
