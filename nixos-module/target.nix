# A target: its roles' accounts and their configuration of sshd and sudo. The build makes the files with
# `ephyr target render`; only accounts are computed here.
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
    concatStringsSep
    filterAttrs
    genAttrs
    mapAttrs
    mapAttrs'
    mapAttrsToList
    mkAfter
    mkIf
    mkMerge
    mkOrder
    nameValuePair
    ;

  cfg = config.services.ephyr;
  inherit (cfg.target) authorities;
  inherit (config.users) users;
  policy = import ./policy.nix { inherit lib pkgs; };

  # The accounts of one appliance: { "<account>" = <role>; }. `root` is the operator's own account: certificates open
  # it too, and nothing else about it changes.
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

  ownAccountsOf = authority: removeAttrs (accountsOf authority) [ "root" ];

  files =
    name: authority:
    policy.target {
      package = cfg.checkPackage;
      inherit (authority) settings target;
      keys = policy.keys authority.caPublicKeys;
      authority = name;
      accounts = attrNames (accountsOf authority);
    };

  snippet = name: "${files name authorities.${name}}/etc/ssh/sshd_config.d/50-ephyr-${name}.conf";

  ofEach = make: mkMerge (mapAttrsToList make authorities);
  everyRole = concatMap (authority: lib.attrValues (ownAccountsOf authority)) (
    lib.attrValues authorities
  );

  given =
    what: part:
    let
      value = part.${what} or null;
    in
    value != null && value != false && value != [ ];

  # NixOS has no /bin/bash, the policy's default.
  shell =
    role:
    let
      named = role.shell or null;
    in
    if named == null || named == "/bin/bash" then "/run/current-system/sw/bin/bash" else named;
  absent = lib.filter (
    path:
    path != "/bin/sh"
    && lib.any (directory: lib.hasPrefix directory path) [
      "/bin/"
      "/sbin/"
      "/usr/"
    ]
  ) (map shell everyRole);

  everyAccount = concatMap (authority: attrNames (ownAccountsOf authority)) (
    lib.attrValues authorities
  );
  twice = lib.filter (account: lib.count (other: other == account) everyAccount > 1) (
    lib.unique everyAccount
  );
  unknown = filterAttrs (
    _: authority: !(authority.settings.targets or { }) ? ${authority.target}
  ) authorities;
  # Agents whose UID only the appliance's configuration has cannot be identified by the policy that is read here.
  nobodies = attrNames (
    filterAttrs (
      _: agent:
      !lib.any (what: given what agent) [
        "uid"
        "api_key_hash"
        "api_key_hash_credential"
        "delegated_only"
        "inherits"
      ]
    ) cfg.settings.agents
  );
  persons = lib.filter (account: (users.${account}.openssh.authorizedKeys.keys or [ ]) != [ ]) (
    lib.unique everyAccount
  );

  # Settings of sshd that restrict logins to a list.
  gates = lib.filter (gate: (config.services.openssh.settings.${gate} or null) != null) [
    "AllowUsers"
    "AllowGroups"
  ];

  # Adds the accounts to a deny list of cron or at, which every user not listed may use. The services create the lists
  # at their first start.
  denied = list: ''
    for account in ${lib.escapeShellArgs (lib.unique everyAccount)}; do
      grep -qxF -- "$account" ${list} || echo "$account" >> ${list}
    done
  '';
in
{
  config = mkMerge [
    { services.ephyr.target.compiled = mapAttrs files authorities; }
    (mkIf cfg.target.enable {
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
          assertion = cfg.target.name == null || nobodies == [ ];
          message = "services.ephyr.target: the policy does not say who ${toString nobodies} is. Set services.ephyr.agents.<name>.uid in the module that the appliance and its targets share.";
        }
        {
          assertion = twice == [ ];
          message = "services.ephyr.target: ${toString twice} would be an account of two appliances, and each could log in as the other's agents. Give the roles other principals.";
        }
        {
          assertion = absent == [ ];
          message = "services.ephyr.target: NixOS has no ${toString (lib.unique absent)}. Give the roles /bin/sh, or a shell below /run/current-system/sw/bin.";
        }
        {
          assertion = persons == [ ];
          message = "services.ephyr.target: ${toString persons} is an account that has SSH keys of its own, so somebody's. Give the roles other principals.";
        }
        {
          assertion = lib.any (given "sudo") everyRole -> config.security.sudo.enable;
          message = "services.ephyr.target: a role has sudo rules; set security.sudo.enable.";
        }
      ];

      warnings =
        lib.optional (gates != [ ] && everyAccount != [ ])
          "services.ephyr.target: services.openssh.settings.${concatStringsSep " and " gates} must let ${toString everyAccount} in, or no agent comes.";

      users.users = ofEach (
        name: authority:
        mapAttrs (account: role: {
          isSystemUser = role.system or true;
          isNormalUser = !(role.system or true);
          createHome = false;
          autoSubUidGidRange = false;
          linger = mkIf config.users.manageLingering (lib.mkDefault false);
          group = account;
          shell = shell role;
          home = "/var/lib/ephyr-target/${account}";
          # No password fits `*`. sshd treats `!` as locked and, without PAM, refuses the account even with a certificate.
          hashedPassword = "*";
          description = "Ephyr role (${name})";
        }) (ownAccountsOf authority)
      );
      users.groups = genAttrs everyAccount (_: { });

      # Owned by root, so that an agent cannot add files that sshd or a shell reads.
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
        # Without the list sshd refuses every certificate. An existing list is kept.
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
            # A copy: sshd requires that only root can write the directories above it, which is not so for the store.
            mode = "0444";
          }
        ) (accountsOf authority)
      );

      # sshd uses the first value that it reads, so these come before every block of the operator: directly after the
      # sshd module's global settings (order 0). An Include outside a block leaves no block open after it.
      services.openssh.extraConfig = mkOrder 1 (
        concatMapStrings (name: ''
          Include ${snippet name}
        '') (attrNames authorities)
      );

      system.checks = mkIf (config.environment.etc ? "ssh/sshd_config") (
        mapAttrsToList (
          name: authority:
          policy.sshd {
            package = cfg.checkPackage;
            inherit (authority) settings target;
            keys = policy.keys authority.caPublicKeys;
            authority = name;
            configuration = config.environment.etc."ssh/sshd_config".source;
            snippet = snippet name;
          }
        ) authorities
      );

      # After all other rules, since sudo applies the last one that matches.
      security.sudo.extraConfig = mkAfter (
        concatMapStrings (name: ''
          @include ${files name authorities.${name}}/etc/sudoers.d/ephyr-${name}
        '') (attrNames authorities)
      );

      systemd.services.cron = mkIf (config.services.cron.enable && everyAccount != [ ]) {
        preStart = mkAfter ''
          if [ ! -e /var/cron/cron.allow ]; then
          ${denied "/var/cron/cron.deny"}
          fi
        '';
      };
      systemd.services.atd = mkIf (config.services.atd.enable && everyAccount != [ ]) {
        preStart = mkAfter (denied "/etc/at/at.deny");
      };
    })
  ];
}
