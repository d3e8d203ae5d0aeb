# What is made of the settings while the system is built. Evaluation never reads it.
{ lib, pkgs }:
let
  # JSON is YAML. What is null is left to the policy's own default.
  json = settings: builtins.toJSON (lib.filterAttrsRecursive (_: value: value != null) settings);
in
{
  # What sshd and sudo of a target read, below $out as below /. The accounts are those that the configuration
  # makes: should the program mean others, the build fails.
  target =
    {
      package,
      settings,
      target,
      keys,
      authority,
      accounts,
    }:
    pkgs.runCommand "ephyr-target-${target}"
      {
        nativeBuildInputs = [
          package
          pkgs.jq
        ];
        settings = json settings;
        accounts = builtins.toJSON (lib.naturalSort accounts);
        passAsFile = [
          "accounts"
          "settings"
        ];
      }
      ''
        ephyr target render ${lib.escapeShellArg target} --policy "$settingsPath" --ca-pub ${keys} \
          --authority ${lib.escapeShellArg authority} --format json > target.json
        jq --slurp --exit-status '(.[0].accounts | map(.name) | sort) == (.[1] | sort)' \
          target.json "$accountsPath" > /dev/null || {
          echo "the policy's accounts of ${target} are not those of this configuration" >&2
          exit 1
        }
        jq --raw-output '.files[] | [.path, (.content | @base64)] | @tsv' target.json |
          while IFS=$'\t' read -r path content; do
            mkdir -p "$out/$(dirname "$path")"
            base64 --decode <<< "$content" > "$out/$path"
          done
        # Without rules there is no such file; what includes it need not know.
        mkdir -p "$out/etc/sudoers.d"
        touch "$out/etc/sudoers.d/ephyr-${authority}"
      '';

  # Queries the build machine's sshd for the effective configuration of the accounts, from loopback and from the policy's
  # addresses. If a setting overrides ours, the build fails with file, line and keyword.
  sshd =
    {
      package,
      settings,
      target,
      keys,
      authority,
      configuration,
      snippet,
    }:
    pkgs.runCommand "ephyr-target-${target}-sshd"
      {
        nativeBuildInputs = [
          package
          pkgs.buildPackages.openssh
        ];
        settings = json settings;
        passAsFile = [ "settings" ];
      }
      ''
        ephyr target render ${lib.escapeShellArg target} --policy "$settingsPath" --ca-pub ${keys} \
          --authority ${lib.escapeShellArg authority} --format debian --out tree
        ssh-keygen -q -t ed25519 -N "" -f host_key
        bash tree/check.sh --config ${configuration} --host-key "$PWD/host_key" --snippet ${snippet}
        touch "$out"
      '';

  # The checked policy and what is compiled of it, by the program of the machine that builds. A mistake fails the
  # build with the key that it stands in.
  compiled =
    { package, settings }:
    pkgs.runCommand "ephyr-policy"
      {
        nativeBuildInputs = [ package ];
        settings = json settings;
        passAsFile = [ "settings" ];
      }
      ''
        cp "$settingsPath" services.ephyr.settings
        # 1: there are warnings, which the log of the build keeps.
        ephyr policy build services.ephyr.settings --out "$out" || [ $? -eq 1 ]
      '';

  # A list as sshd's TrustedUserCAKeys and the daemons' --ca-pub take it.
  keys = list: pkgs.writeText "ephyr-ca.pub" (lib.concatMapStrings (key: "${key}\n") list);
}
