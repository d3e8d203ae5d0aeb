# Refuses, during evaluation, configurations that would break a guarantee, with what to do instead.
{ config, lib, ... }:
let
  inherit (lib)
    attrNames
    attrValues
    concatMap
    concatStringsSep
    elem
    filter
    filterAttrs
    intersectLists
    mapAttrsToList
    mkIf
    ;

  cfg = config.services.ephyr;
  inherit (config.users) users groups;

  # Members of these groups can become root.
  mighty = [
    "root"
    "wheel"
    "docker"
    "podman"
    "libvirtd"
    "lxd"
    "incus-admin"
    "kvm"
    "disk"
    "ephyr-signer-clients"
  ];

  groupsOf =
    user:
    [ users.${user}.group ]
    ++ users.${user}.extraGroups
    ++ attrNames (filterAttrs (_: group: elem user (group.members or [ ])) groups);

  trusted = config.nix.settings.trusted-users or [ ];
  trustedAs =
    user:
    intersectLists trusted (
      [
        user
        "*"
      ]
      ++ map (group: "@${group}") (groupsOf user)
    );

  sharing =
    uid:
    attrNames (filterAttrs (_: user: user.uid == uid) (filterAttrs (_: user: user.uid != null) users));

  # Users of Ephyr's own units. An agent with one of their UIDs could act as that daemon.
  daemons = [
    "ephyr-signer"
    "ephyr-broker"
    "ephyr-netguard"
  ];

  ofAgent =
    name: agent:
    let
      at = "services.ephyr.agents.${name}";
      inherit (agent) user;
      others = filter (other: other != user) (sharing agent.uid);
      tooMighty = intersectLists mighty (groupsOf user);
    in
    [
      {
        assertion = others == [ ];
        message = "${at}.uid: ${toString agent.uid} is also the UID of ${concatStringsSep ", " others}. Broker and firewall know an agent by its UID: give it one of its own.";
      }
      {
        assertion = !elem user daemons;
        message = "${at}.user: ${user} runs a unit of Ephyr itself. An agent has a user of its own.";
      }
      {
        assertion = tooMighty == [ ];
        message = "${at}: its user ${user} is in ${concatStringsSep ", " tooMighty}, and so as good as root. Take it out of there.";
      }
      {
        assertion = trustedAs user == [ ];
        message = "${at}: its user ${user} is trusted by the Nix daemon (nix.settings.trusted-users has ${concatStringsSep ", " (trustedAs user)}), and so as good as root. Take it out of there.";
      }
      {
        assertion =
          users.${user}.subUidRanges == [ ]
          && users.${user}.subGidRanges == [ ]
          && !users.${user}.autoSubUidGidRange;
        message = "${at}: its user ${user} has sub-UIDs. What runs as one of those is not the agent for broker and firewall: take them away.";
      }
      {
        assertion = (users.${user}.linger or null) != true;
        message = "${at}: its user ${user} lingers, and so would run outside its unit. Set users.users.${user}.linger to false.";
      }
    ];

  inlineHashes =
    section: attrNames (filterAttrs (_: entry: entry ? api_key_hash) (cfg.settings.${section} or { }));

  # Every credential that the policy names.
  named = filter (name: name != null) (
    map (entry: entry.api_key_hash_credential or null) (attrValues cfg.settings.agents)
    ++
      concatMap
        (section: map (entry: entry.credential or null) (attrValues (cfg.settings.${section} or { })))
        [
          "services"
          "remotes"
        ]
  );
  missing = filter (name: !cfg.credentials ? ${name}) (lib.unique named);

  # LoadCredential= separates name and path by a colon.
  unsound = filter (name: builtins.match "[A-Za-z0-9_-][A-Za-z0-9._-]*" name == null) (
    attrNames cfg.credentials
  );

  # These would put all of the host's sockets into an agent's empty root.
  whole = filter (path: builtins.match "/*(run|var)?[/.]*" path != null) cfg.readable;

  withoutUser = filter (name: !cfg.agents ? ${name}) (
    attrNames (filterAttrs (_: agent: agent ? uid) cfg.settings.agents)
  );
in
{
  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.caPublicKeys != [ ];
        message = "services.ephyr.caPublicKeys is empty: put what `ephyr ca init` printed there, on the targets too.";
      }
      {
        assertion = cfg.caKeyFile != null;
        message = "services.ephyr.caKeyFile is not set: say where the file lies that `ephyr ca init --out FILE` made.";
      }
      {
        assertion = inlineHashes "agents" == [ ] && inlineHashes "templates" == [ ];
        message = "services.ephyr.settings: api_key_hash of ${
          concatStringsSep ", " (inlineHashes "agents" ++ inlineHashes "templates")
        } would lie in the store, where everyone reads it. Put it into a file, name that in services.ephyr.credentials, and set api_key_hash_credential.";
      }
      {
        assertion = missing == [ ];
        message = "services.ephyr.settings names credentials that services.ephyr.credentials does not have: ${concatStringsSep ", " missing}.";
      }
      {
        assertion = unsound == [ ];
        message = "services.ephyr.credentials: ${concatStringsSep ", " unsound} is no name of a credential; use letters, digits, '.', '_' and '-'.";
      }
      {
        assertion = whole == [ ];
        message = "services.ephyr.readable: ${concatStringsSep ", " whole} has the sockets of the whole system in it. Name what agents need.";
      }
      {
        assertion = withoutUser == [ ];
        message = "services.ephyr.settings.agents: ${concatStringsSep ", " withoutUser} has a uid but no user. Declare it in services.ephyr.agents, which gives the policy its UID.";
      }
    ]
    ++ lib.concatLists (mapAttrsToList ofAgent cfg.agents);
  };
}
