//go:build linux

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	guide   = "three-machines.md"
	version = "v1.2.3"
)

// machines are the hosts of the guide, all of them this one.
var machines = []string{
	"crl.example.org",
	"destination.internal",
	"fhir.example.org",
	"client.example.org",
}

// TestGuide runs every block of the guide in its order, each in a directory of its
// machine, as root, in namespaces of its own: what it writes below /etc, /usr/local
// and /var/lib is gone afterwards, and its network is this test's alone.
//
// What one machine does not have is replaced: scp copies into the directory of the
// other machine, and systemctl starts what the unit names, as the unit's account,
// with its capabilities and its umask.
func TestGuide(t *testing.T) {
	dir := t.TempDir()
	release := filepath.Join(dir, "release")
	build := exec.CommandContext(t.Context(), "go", "run", "./scripts/release",
		"-out", release,
		"-version", version,
		"-platforms", "linux/amd64")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	var script strings.Builder
	script.WriteString(preamble)
	for _, host := range machines {
		at := filepath.Join(dir, "at", host)
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		script.WriteString("cp " + release + "/* " + at + "\necho 127.0.0.1 " + host + " >>/etc/hosts\n")
	}
	for _, b := range blocks(t) {
		hosts := []string{b.host}
		if b.host == "every machine" {
			hosts = machines
		}
		for _, host := range hosts {
			script.WriteString("\ncd " + filepath.Join(dir, "at", host) + "\n" + b.commands)
		}
	}
	script.WriteString("\necho the guide is done\n")
	path := filepath.Join(dir, "script")
	if err := os.WriteFile(path, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}

	args := []string{"unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", path, dir}
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "\nthe guide is done\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"identical, 0 straight", "0 differ"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("nothing about %q in\n%s", want, out)
		}
	}
}

// preamble makes the environment of the guide. Its first argument is the directory.
const preamble = `set -Eeuo pipefail
W=$1
mkdir "$W/over"
mount -t tmpfs tmpfs "$W/over"
for d in etc usr/local var/lib; do
  mkdir -p "$W/over/$d/up" "$W/over/$d/work"
  mount -t overlay overlay -o "lowerdir=/$d,upperdir=$W/over/$d/up,workdir=$W/over/$d/work" "/$d"
done
ip link set lo up
export PATH=/usr/local/bin:$PATH
trap 'for f in "$W"/*.log; do echo "== $f"; tail -n 5 "$f"; done >&2' ERR

# scp FILE... HOST:[DIRECTORY]
scp() {
  local to=${!#}
  local dir=${to#*:}
  cp -- "${@:1:$#-1}" "${dir:-$W/at/${to%%:*}}"
}

# of UNIT KEY: the value of a key
of() { sed -n "s/^$2=//p" "/etc/systemd/system/$1.service"; }

start() {
  local user caps
  user=$(of "$1" User)
  caps=$(of "$1" AmbientCapabilities | sed 's/CAP_/+/g; s/ /,/g' | tr A-Z a-z)
  install -d -m "$(of "$1" StateDirectoryMode)" -o "$user" -g "$user" "/var/lib/$(of "$1" StateDirectory)"
  (
    umask "$(of "$1" UMask)"
    exec setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs --bounding-set="-all${caps:+,$caps}" \
      ${caps:+--inh-caps="$caps" --ambient-caps="$caps"} $(of "$1" ExecStart)
  ) >"$W/$1.log" 2>&1 &
  echo $! >"$W/$1.pid"
}

systemctl() {
  case $1 in
    daemon-reload) systemd-analyze verify /etc/systemd/system/{destination,gateway,delegate}.service ;;
    enable) start "$3" ;;
    stop)
      for unit in "${@:2}"; do
        kill "$(cat "$W/$unit.pid")"
        wait "$(cat "$W/$unit.pid")"
      done
      ;;
  esac
}
set -x
`

// block is a block of commands of the guide, and where they are run.
type block struct {
	host, commands string
}

// blocks returns the blocks of the guide. Each must name its machine, so that none is
// left out.
func blocks(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}

	var out []block
	first := regexp.MustCompile(`^sh\n# on ([a-z. ]+)\n`)
	for i, part := range strings.Split("\n"+string(text), "\n```") {
		if i%2 == 0 {
			continue
		}
		m := first.FindStringSubmatch(part)
		if m == nil {
			t.Fatalf("a block does not name its machine:\n%s", part)
		}
		out = append(out, block{m[1], part[len("sh\n"):] + "\n"})
	}
	if len(out) < 5 {
		t.Fatalf("only %d blocks", len(out))
	}
	return out
}

// TestUnitsAreHardened: systemd's own assessment of each unit is at most 2.0, of 10.
func TestUnitsAreHardened(t *testing.T) {
	units, err := filepath.Glob("systemd/*.service")
	if err != nil || len(units) != 3 {
		t.Fatalf("%v, %v", units, err)
	}
	for _, unit := range units {
		t.Run(filepath.Base(unit), func(t *testing.T) {
			out, err := exec.CommandContext(
				t.Context(),
				"systemd-analyze",
				"security",
				"--offline=true",
				"--threshold=20",
				"--no-pager",
				unit,
			).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
