# Agents of this host: their users, their directories, and what the policy says of them.
{ config, lib, ... }:
let
  inherit (lib)
    mapAttrs
    mapAttrs'
    mkIf
    nameValuePair
    ;

  cfg = config.services.ephyr;
  home = name: "/var/lib/ephyr-agents/${name}";
  ofUser = make: mapAttrs' (name: agent: nameValuePair agent.user (make name agent)) cfg.agents;
in
{
  config = mkIf cfg.enable {
    # Broker and firewall know an agent by its UID; so both have it from here.
    services.ephyr.settings.agents = mapAttrs (
      _: agent:
      { inherit (agent) uid; } // (if agent.egress == [ ] then { } else { inherit (agent) egress; })
    ) cfg.agents;

    users.users = ofUser (
      name: agent: {
        isSystemUser = true;
        inherit (agent) uid;
        group = agent.user;
        extraGroups = [ "ephyr-agents" ];
        home = home name;
        description = "Ephyr agent ${name}";
      }
    );
    users.groups = ofUser (_: _: { });

    systemd.tmpfiles.settings.ephyr = {
      "/var/lib/ephyr-agents".d = {
        mode = "0755";
        user = "root";
        group = "root";
      };
    }
    // mapAttrs' (
      name: agent:
      nameValuePair (home name) {
        d = {
          mode = "0700";
          inherit (agent) user;
          group = agent.user;
        };
      }
    ) cfg.agents;
  };
}
