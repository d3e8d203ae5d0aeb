# Derivations made from the settings. Evaluation never reads their results.
{ lib, pkgs }:
let
  # JSON is YAML. For null the policy's own default applies.
  json = settings: builtins.toJSON (lib.filterAttrsRecursive (_: value: value != null) settings);
in
{
  # A target's files for sshd and sudo, below $out as below /. `accounts` are those of the configuration: if the
  # program renders others, the build fails.
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
        # Without rules no such file is rendered, but the configuration includes it in any case.
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

  # The checked policy and its compiled parts, made by the build machine's program. A mistake fails the build and
  # names its key.
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
        # Exit status 1 means warnings, which stay in the build log.
        ephyr policy build services.ephyr.settings --out "$out" || [ $? -eq 1 ]
      '';

  # CA keys in the format of sshd's TrustedUserCAKeys and the daemons' --ca-pub.
  keys = list: pkgs.writeText "ephyr-ca.pub" (lib.concatMapStrings (key: "${key}\n") list);
}
